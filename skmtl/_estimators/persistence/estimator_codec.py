"""Estimators: parameters, what they have learned, and their nets."""

from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator

from skmtl._data.categories import CategoryEncoder
from skmtl._data.targets import Targets
from skmtl._data.training_data import LabelCounts
from skmtl._estimators.fit import MultiTaskFit
from skmtl._estimators.fitted_attributes import is_fitted_attribute
from skmtl._estimators.fitting.out_of_fold import OutOfFoldPredictions
from skmtl._estimators.persistence.codecs import CODECS, Codec, Node, Reader, Writer
from skmtl._estimators.persistence.import_paths import name_class
from skmtl._estimators.persistence.net_state import pack_net, unpack_net
from skmtl._estimators.persistence.object_codecs import pack_all, unpack_all
from skmtl.training import HardExampleSelection, InputSource, use_n_threads

#: Methods that metadata may be routed to.
ROUTED = ("fit", "partial_fit", "score")
#: What predictions rely on among what estimators have learned.
TYPES: dict[str, Any] = {
    "_categories": CategoryEncoder | None,
    "_label_counts": LabelCounts,
    "_oof": OutOfFoldPredictions | None,
    "_targets": Targets,
}


def check_predicts(estimator: BaseEstimator) -> None:
    """Try an estimator on one row of zeros."""
    if not isinstance(estimator, MultiTaskFit):
        raise TypeError("it is no estimator of skmtl")
    net, targets = estimator.net_, estimator._targets
    X = np.zeros((1, *net.module__input_shape))
    source = InputSource(
        X, net.module_.input_dtype, torch.device("cpu"), resident=False
    )
    with use_n_threads(1):
        outputs = net.outputs(source)
    targets.predict_proba(outputs)
    targets.predict(outputs, estimator._predict_codes(outputs))


def _pack_estimator(writer: Writer, value: Any, where: str) -> Node:
    if id(value) in writer.shared:
        return {"same": writer.shared[id(value)]}
    fitted = value.__sklearn_is_fitted__()
    learned = {
        name: entry
        for name, entry in vars(value).items()
        if fitted and is_fitted_attribute(name) and name != "net_"
    }
    parameters = {**value.get_params(deep=False), "accelerator": None}
    node = {  # packed in the order in which they are read: estimators are packed once
        **name_class(type(value)),
        "parameters": pack_all(writer, parameters, where),
        "requests": _pack_requests(value),
        "learned": pack_all(writer, learned, where),
        "net": None,
    }
    if fitted:
        targets_and_augmentation = value._targets, value.augmentation
        node["net"] = pack_net(
            writer, value.net_, f"{where}.net", *targets_and_augmentation
        )
    writer.shared[id(value)] = len(writer.shared)
    return node


def _pack_requests(estimator: BaseEstimator) -> Node:
    """Return what metadata an estimator asks for, where it has been told."""
    request = vars(estimator).get("_metadata_request")
    if request is None:
        return {}
    return {method: dict(getattr(request, method).requests) for method in ROUTED}


def _read_estimator(reader: Reader, node: Node) -> Any:
    if "same" in node:
        return reader.shared[node["same"]]
    cls: Any = reader.trust.get_class(node, MultiTaskFit)
    estimator = cls(**unpack_all(reader, node["parameters"]))
    if node["net"] is not None:
        estimator._validate_params()
        _read_fitted(reader, estimator, node)
    with config_context(enable_metadata_routing=True):
        for method, requests in node["requests"].items():
            getattr(estimator, f"set_{method}_request")(**requests)
    reader.shared.append(estimator)
    return estimator


def _read_fitted(reader: Reader, estimator: BaseEstimator, node: Node) -> None:
    learned = unpack_all(reader, node["learned"])
    for name in learned:
        descriptor = getattr(type(estimator), name, None)
        if not is_fitted_attribute(name) or isinstance(descriptor, property):
            raise ValueError(f"{name!r} is no fitted attribute")
    for name, types in TYPES.items():
        if not isinstance(learned[name], types):
            raise TypeError(f"{name} is a {type(learned[name]).__name__}")
    _check_labels(learned["_oof"], learned["_targets"])
    _check_folds(learned["_oof"], learned["n_estimators_"])
    vars(estimator).update(learned)
    targets, augmentation = estimator._targets, estimator.augmentation
    net = unpack_net(reader, node["net"], targets, augmentation)
    if estimator.hard_example_mining is not None:
        net.hard_example_mining = HardExampleSelection(
            estimator.hard_example_mining, estimator.hard_example_fraction
        )
    estimator.net_ = net


def _check_labels(oof: OutOfFoldPredictions | None, targets: Targets) -> None:
    """Check that labels of training rows are those of the tasks: they are counted."""
    if oof is None:
        return
    for labels, k in zip(oof.labels, targets.n_classes, strict=True):
        fits = labels.dtype.kind == "f" if k == 0 else labels.dtype.kind == "i"
        if not fits or (k and labels.max(initial=-1) >= k):
            raise ValueError("it has labels of training rows that are none")


def _check_folds(oof: OutOfFoldPredictions | None, n_networks: int) -> None:
    """Check that each fold has predictions and networks, which sets of classes need."""
    if oof is None or oof.fold_outputs is None:
        return
    group, networks = oof.group, oof.fold_networks
    if (
        group is None
        or networks is None
        or networks.dtype != bool
        or networks.ndim != 2
        or networks.shape[1] != n_networks
        or group.shape != (len(oof.labels[0]),)
        or oof.fold_outputs.shape != oof.outputs.shape
    ):
        raise ValueError("what it says of the folds does not go together")


CODECS["estimator"] = Codec(
    lambda value: isinstance(value, MultiTaskFit), _pack_estimator, _read_estimator
)
