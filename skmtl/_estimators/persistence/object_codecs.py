"""Objects of skmtl: strategies, what they have learned, tasks and labels; classes."""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import OrdinalEncoder
from torch import Tensor, nn

from skmtl._core.specs import Spec
from skmtl._data.categories import CategoryEncoder
from skmtl._data.labels import TASK_TYPES
from skmtl._data.output_kinds import group_tasks
from skmtl._data.targets import Targets
from skmtl._data.training_data import LabelCounts
from skmtl._estimators.fitting.out_of_fold import OutOfFoldPredictions
from skmtl._estimators.persistence.codecs import (
    CODECS,
    Codec,
    Node,
    Reader,
    Writer,
    make_store_error,
)
from skmtl._estimators.persistence.import_paths import (
    get_import_path,
    get_known_classes,
    name_class,
)
from skmtl._estimators.persistence.value_codecs import match_type
from skmtl.training import check_mt19937
from skmtl.weighting._label_shift import LabelShift

#: What every module of torch has beside its own attributes.
OF_MODULES = set(vars(nn.Module()))
#: Dataclasses that hold what an estimator has learned.
RECORDS: dict[str, type] = {
    "label_counts": LabelCounts,
    "label_shift": LabelShift,
    "out_of_fold": OutOfFoldPredictions,
}
#: What makes tasks; the rest follows from it.
OF_TARGETS = ("task_types", "names", "named", "one_d", "classes", "mean", "scale")


def pack_all(writer: Writer, values: dict[str, Any], where: str) -> Node:
    """Return what JSON holds of values by name."""
    return {name: writer.pack(v, f"{where}.{name}") for name, v in values.items()}


def unpack_all(reader: Reader, nodes: Node) -> dict[str, Any]:
    """Return values by name, of which none is a method or private."""
    for name in nodes:
        if not name.isidentifier() or name.startswith("__"):
            raise ValueError(f"{name!r} is no name of an attribute")
    return {name: reader.unpack(node) for name, node in nodes.items()}


# ----------------------------------------------------------------------- strategies
def _pack_spec(writer: Writer, value: Spec, where: str) -> Node:
    parameters = value.get_params(deep=False)
    learned = {k: v for k, v in vars(value).items() if k not in parameters}
    return {
        **name_class(type(value)),
        "parameters": pack_all(writer, parameters, where),
        "learned": pack_all(writer, learned, where),
    }


def _read_spec(reader: Reader, node: Node) -> Spec:
    cls: Any = reader.trust.get_class(node, Spec)
    spec = cls(**unpack_all(reader, node["parameters"])).validate()
    _set(spec, unpack_all(reader, node["learned"]))
    return spec  # type: ignore[no-any-return]


def _set(instance: Any, attributes: dict[str, Any]) -> None:
    """Set attributes, none of which stands for a method or a property."""
    for name, value in attributes.items():
        descriptor = getattr(type(instance), name, None)
        if callable(descriptor) or isinstance(descriptor, property):
            raise ValueError(f"{name!r} is no attribute of {type(instance).__name__}")
        setattr(instance, name, value)


# ----------------------------------------------------------- modules without training
def _pack_module(writer: Writer, value: nn.Module, where: str) -> Node:
    attributes = {k: v for k, v in vars(value).items() if k not in OF_MODULES}
    return {
        **name_class(type(value)),
        "attributes": pack_all(writer, attributes, where),
        "buffers": pack_all(writer, dict(value._buffers), where),
        "parts": {
            name: writer.pack(part, f"{where}.{name}")
            for name, part in value._modules.items()
        },
    }


def _read_module(reader: Reader, node: Node) -> nn.Module:
    cls: Any = reader.trust.get_class(node, nn.Module)
    module: nn.Module = cls.__new__(cls)
    nn.Module.__init__(module)
    _set(module, unpack_all(reader, node["attributes"]))
    for name, buffer in unpack_all(reader, node["buffers"]).items():
        module.register_buffer(name, buffer)
    for name, part in node["parts"].items():
        module.add_module(name, reader.unpack(part))
    return module


# ------------------------------------------------------------------ tasks and labels
def _pack_record(writer: Writer, value: Any, where: str) -> Node:
    attributes = {field.name: getattr(value, field.name) for field in fields(value)}
    (name,) = (name for name, cls in RECORDS.items() if cls is type(value))
    return {"class": name, "fields": pack_all(writer, attributes, where)}


def _read_record(reader: Reader, node: Node) -> Any:
    return RECORDS[node["class"]](**unpack_all(reader, node["fields"]))


def _pack_targets(writer: Writer, value: Targets, where: str) -> Node:
    attributes = {name: getattr(value, name) for name in OF_TARGETS}
    return {"attributes": pack_all(writer, attributes, where)}


def _read_targets(reader: Reader, node: Node) -> Targets:
    targets = object.__new__(Targets)
    vars(targets).update(
        {name: reader.unpack(node["attributes"][name]) for name in OF_TARGETS}
    )
    n_tasks = len(targets.task_types)
    lengths = {len(getattr(targets, name)) for name in ("names", "classes")}
    shapes = {np.shape(targets.mean), np.shape(targets.scale)}
    if (
        lengths != {n_tasks}
        or shapes != {(n_tasks,)}
        or set(targets.task_types) - set(TASK_TYPES)
    ):
        raise ValueError("what it says of the tasks does not go together")
    for kind, classes in zip(targets.task_types, targets.classes, strict=True):
        if (classes is None) != (kind == "regression") or (
            classes is not None and classes.ndim != 1
        ):
            raise ValueError("what it says of the classes does not go together")
    targets.dtype = targets._choose_prediction_dtype()
    targets.blocks = group_tasks(targets.task_types, targets.n_classes)
    return targets


def _pack_categories(writer: Writer, value: CategoryEncoder, where: str) -> Node:
    known_labels = writer.pack(list(value.encoder.categories_), where)
    names = writer.pack(value.names, f"{where} names")
    return {"columns": value.columns, "names": names, "labels": known_labels}


def _read_categories(reader: Reader, node: Node) -> CategoryEncoder:
    categories, labels = CategoryEncoder(), reader.unpack(node["labels"])
    categories.columns = [int(column) for column in node["columns"]]
    categories.names = reader.unpack(node["names"])
    if not len(categories.columns) == len(categories.names) == len(labels) > 0:
        raise ValueError("what it says of the categories does not go together")
    categories.encoder = _read_fitted_encoder(reader, labels)
    return categories


def _read_fitted_encoder(reader: Reader, labels: list[NDArray[Any]]) -> OrdinalEncoder:
    """Return what an encoder is once it has seen all labels of each column."""
    reader.budget.charge(sum(column.nbytes for column in labels))  # it copies them
    encoder = OrdinalEncoder(
        categories=labels, handle_unknown="use_encoded_value", unknown_value=-1
    )
    # A row: a table of all labels would have as many rows as the longest column.
    first = np.empty((1, len(labels)), dtype=object)
    first[0] = [column[0] for column in labels]
    return encoder.fit(first).set_params(categories="auto")


def _random_state(writer: Writer, value: Any, where: str) -> Node:
    state = value.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        why = f" with the bit generator {state['bit_generator']}, not MT19937"
        raise make_store_error(value, where, why)
    return {"state": writer.pack(state, where)}


def _read_random_state(reader: Reader, node: Node) -> np.random.RandomState:
    state = reader.unpack(node["state"])
    if state["bit_generator"] != "MT19937":
        raise ValueError("a random state has another bit generator than MT19937")
    words = state["state"]
    check_mt19937(words["key"], words["pos"], state["has_gauss"], state["gauss"])
    random_state = np.random.RandomState(0)
    random_state.set_state(state)
    return random_state


# ------------------------------------------------------------- classes and functions
def _name(value: object) -> Node:
    return (
        name_class(value)
        if isinstance(value, type)
        else {"path": get_import_path(value)}
    )


def _read_callable(reader: Reader, node: Node) -> Any:
    if "class" in node:
        return get_known_classes()[node["class"]]
    function = reader.trust.get(node["path"])
    if not callable(function):
        raise TypeError(f"{node['path']} cannot be called")
    return function


CODECS |= {
    "spec": Codec(lambda value: isinstance(value, Spec), _pack_spec, _read_spec),
    "module": Codec(
        lambda value: isinstance(value, nn.Module) and not value._parameters,
        _pack_module,
        _read_module,
    ),
    "record": Codec(match_type(*RECORDS.values()), _pack_record, _read_record),
    "targets": Codec(match_type(Targets), _pack_targets, _read_targets),
    "categories": Codec(
        match_type(CategoryEncoder), _pack_categories, _read_categories
    ),
    "random_state": Codec(
        match_type(np.random.RandomState), _random_state, _read_random_state
    ),
    "callable": Codec(
        lambda value: isinstance(value, type) or hasattr(value, "__qualname__"),
        lambda _writer, value, _where: _name(value),
        _read_callable,
    ),
}


def get_random_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a module, by name."""
    return dict(module.named_parameters()) | dict(module.named_buffers())
