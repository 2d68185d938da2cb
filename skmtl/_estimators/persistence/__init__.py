"""Files that hold fitted models."""

from skmtl._estimators.persistence.inference_module import (
    InferenceModule as InferenceModule,
)
from skmtl._estimators.persistence.inference_module import TaskOutput as TaskOutput
from skmtl._estimators.persistence.onnx_export import export_onnx as export_onnx
from skmtl._estimators.persistence.save_load import load as load
from skmtl._estimators.persistence.save_load import save as save
from skmtl._estimators.persistence.skops_state import MARK as MARK
from skmtl._estimators.persistence.skops_state import (
    get_trusted_types as get_trusted_types,
)
from skmtl._estimators.persistence.skops_state import is_pickling as is_pickling
from skmtl._estimators.persistence.skops_state import mark_pickling as mark_pickling
from skmtl._estimators.persistence.skops_state import (
    pack_portable_state as pack_portable_state,
)
from skmtl._estimators.persistence.skops_state import (
    unpack_portable_state as unpack_portable_state,
)
