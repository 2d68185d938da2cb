"""Files that hold fitted models."""

from skmtl._files._onnx import export_onnx as export_onnx
from skmtl._files._save import load as load
from skmtl._files._save import save as save
from skmtl._files._served import Served as Served
from skmtl._files._served import TaskOutput as TaskOutput
from skmtl._files._skops import PortableState as PortableState
from skmtl._files._skops import skops_types as skops_types
