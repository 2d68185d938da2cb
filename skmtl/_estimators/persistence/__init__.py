"""Files that hold fitted models."""

from skmtl._estimators.persistence.inference_module import (
    InferenceModule as InferenceModule,
)
from skmtl._estimators.persistence.inference_module import TaskOutput as TaskOutput
from skmtl._estimators.persistence.onnx_export import export_onnx as export_onnx
from skmtl._estimators.persistence.save_load import load as load
from skmtl._estimators.persistence.save_load import save as save
from skmtl._estimators.persistence.skops_state import PortableState as PortableState
from skmtl._estimators.persistence.skops_state import (
    get_trusted_types as get_trusted_types,
)
