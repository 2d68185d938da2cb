"""Numbers and categories of a table, as the inputs of an ONNX file."""

from typing import Any

import numpy as np

from skmtl._data.categories import CategoryEncoder
from skmtl.exceptions import ModelFileError

#: Names of the inputs: one of numbers, one of strings.
NUMBERS, CATEGORIES = "X", "categories"
#: Version of ONNX's operators for machine learning.
OPSET_ML = 3


def make_table_model(
    onnx: Any, categories: CategoryEncoder, n_features: int, dtype: Any, opset: int
) -> Any:
    """Return a model of ONNX that puts codes in place of categories."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    labels, make = categories.get_categories(), onnx.helper.make_node
    numbers = [i for i in range(n_features) if i not in labels]
    inputs = [(NUMBERS, kind, len(numbers))] if numbers else []
    inputs.append((CATEGORIES, onnx.TensorProto.STRING, len(labels)))
    constants = {f"place_{place}": np.array([place]) for place in range(len(labels))}
    constants["order"] = np.argsort([*numbers, *labels])
    nodes, parts = [], [NUMBERS] if numbers else []
    for place, (name, known) in enumerate(
        zip(categories.names, labels.values(), strict=True)
    ):
        nodes += _make_coding(make, place, _make_keys(known, name), kind)
        parts.append(f"codes_{place}")
    nodes.append(make("Concat", parts, ["every"], axis=1))
    nodes.append(make("Gather", ["every", "order"], ["table"], axis=1))
    value, array = onnx.helper.make_tensor_value_info, onnx.numpy_helper.from_array
    graph = onnx.helper.make_graph(
        nodes,
        "table",
        [value(name, type_, ["n", width]) for name, type_, width in inputs],
        [value("table", kind, ["n", n_features])],
        [array(values, name) for name, values in constants.items()],
    )
    versions = [("", opset), ("ai.onnx.ml", OPSET_ML)]
    imports = [onnx.helper.make_opsetid(*version) for version in versions]
    model = onnx.helper.make_model(graph, opset_imports=imports)
    # By itself it is onnx's newest, which a runtime need not know.
    model.ir_version = onnx.helper.find_min_ir_version_for(imports)
    return model


def _make_coding(make: Any, place: int, keys: list[str], kind: int) -> list[Any]:
    """Return what makes codes of one column: zero for unknown, NaN for missing ones."""
    labels, floats = f"labels_{place}", f"floats_{place}"
    encode = make(
        "LabelEncoder",
        [labels],
        [floats],
        domain="ai.onnx.ml",
        keys_strings=["", *keys],
        values_floats=[float("nan"), *range(1, len(keys) + 1)],
        default_float=0.0,
    )
    take = make("Gather", [CATEGORIES, f"place_{place}"], [labels], axis=1)
    return [take, encode, make("Cast", [floats], [f"codes_{place}"], to=kind)]


def split_input_columns(
    categories: CategoryEncoder, names: list[Any]
) -> dict[str, list[Any]]:
    """Return which columns of the table each input has, by their names."""
    labels = categories.get_categories()
    numbers = [str(name) for i, name in enumerate(names) if i not in labels]
    strings = {CATEGORIES: [str(name) for name in categories.names]}
    return {NUMBERS: numbers, **strings} if numbers else strings


def _make_keys(labels: list[Any], name: object) -> list[str]:
    """Return the strings that stand for the categories of a column."""
    keys = [str(label) for label in labels]
    if "" in keys or len(set(keys)) < len(keys):
        raise ModelFileError(
            f"skmtl.export_onnx cannot tell the categories of column {name!r} apart as "
            'strings, of which "" stands for a missing one: rename them before the '
            "estimator is fitted."
        )
    return keys
