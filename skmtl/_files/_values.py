"""Values without a class of skmtl: numbers, containers, dates, arrays, tables."""

import datetime as dt
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._files._codec import CODECS, Codec, Node, Reader, Writer, cannot_store

#: Types of arrays that hold no objects.
PLAIN = re.compile(r"[<>|=]?[biufcmMUS]\d+(\[\w+\])?|\|b1")
#: Types of arrays that are tensors as they are.
NATIVE = {"b1", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8"}
TORCH_DTYPES = {
    str(getattr(torch, name)): getattr(torch, name)
    for name in ("float16", "bfloat16", "float32", "float64")
}


def of(*types: type) -> Callable[[Any], bool]:
    """Return a test for objects of exactly these types."""
    return lambda value: type(value) in types


def _pandas(*names: str) -> Callable[[Any], bool]:
    """Return a test for objects of pandas, which need not be installed."""
    return lambda value: (
        type(value).__module__.partition(".")[0] == "pandas"
        and type(value).__name__ in names
    )


def _pack_dict(writer: Writer, value: dict[Any, Any], where: str) -> Node:
    return {
        "items": [
            [writer.pack(key, f"{where} key"), writer.pack(entry, f"{where}.{key}")]
            for key, entry in value.items()
        ]
    }


def _array(writer: Writer, value: NDArray[Any], where: str) -> Node:
    array = np.asarray(value)
    if array.dtype == object:
        items = [writer.pack(v, f"{where}.{i}") for i, v in enumerate(array.flat)]
        return {"shape": list(array.shape), "items": items}
    if np.ma.isMaskedArray(value) or not PLAIN.fullmatch(array.dtype.str):
        raise cannot_store(value, where, f" of type {array.dtype}")
    array = np.ascontiguousarray(array).reshape(array.shape)  # keeps no axis of zeros
    name = array.dtype.str.lstrip("<|")
    if name in NATIVE:
        return {"tensor": writer.keep(torch.from_numpy(array.copy()), where)}
    octets = np.frombuffer(array.tobytes(), np.uint8)
    shape = (*array.shape, array.dtype.itemsize)
    tensor = torch.from_numpy(octets.copy()).reshape(shape)
    return {"tensor": writer.keep(tensor, where), "dtype": array.dtype.str}


def _read_array(reader: Reader, node: Node) -> NDArray[Any]:
    if "items" in node:
        array = np.empty(len(node["items"]), dtype=object)
        for i, entry in enumerate(node["items"]):
            array[i] = reader.unpack(entry)
        return array.reshape(node["shape"])
    array = reader.tensors[node["tensor"]].numpy().copy()
    if "dtype" not in node:
        return array
    if not PLAIN.fullmatch(node["dtype"]):
        raise ValueError(f"{node['dtype']!r} is no type of an array")
    dtype = np.dtype(node["dtype"])
    if array.dtype != np.uint8 or array.shape[-1:] != (dtype.itemsize,):
        raise ValueError(f"an array of type {dtype} has other bytes")
    array = np.frombuffer(array.tobytes(), dtype).reshape(array.shape[:-1]).copy()
    array.tolist()  # refuses what is no character
    return array


def _scalar(writer: Writer, value: np.generic, where: str) -> Node:
    return {"array": _array(writer, np.asarray(value), where)}


def _tensor(writer: Writer, value: Tensor, where: str) -> Node:
    if value.layout != torch.strided:
        raise cannot_store(value, where, f" of layout {value.layout}")
    return {"tensor": writer.keep(value, where)}


def _read_timestamp(reader: Reader, node: Node) -> Any:
    import pandas as pd

    stamp = pd.Timestamp(node["value"]).as_unit(node["unit"])
    return stamp if node["tz"] is None else stamp.tz_localize("UTC").tz_convert(node["tz"])


def _timestamp(writer: Writer, value: Any, where: str) -> Node:
    tz = None if value.tz is None else str(value.tz)
    utc = value if tz is None else value.tz_convert("UTC").tz_localize(None)
    return {"value": utc.isoformat(), "unit": value.unit, "tz": tz}


def _date(writer: Writer, value: Any, where: str) -> Node:
    if type(getattr(value, "tzinfo", None)) not in (type(None), dt.timezone):
        raise cannot_store(value, where, " in a time zone")
    return {"type": type(value).__name__, "value": value.isoformat()}


def _read_date(reader: Reader, node: Node) -> Any:
    types = {"date": dt.date, "datetime": dt.datetime, "time": dt.time}
    return types[node["type"]].fromisoformat(node["value"])


def _table(writer: Writer, value: Any, where: str) -> Node:
    return {
        "values": writer.pack(value.to_numpy(), where),
        "index": writer.pack(value.index.tolist(), f"{where} index"),
        "columns": writer.pack(
            value.columns.tolist() if value.ndim == 2 else None, f"{where} columns"
        ),
    }


def _read_table(reader: Reader, node: Node) -> Any:
    import pandas as pd

    values, index, columns = (
        reader.unpack(node[name]) for name in ("values", "index", "columns")
    )
    if columns is None:
        return pd.Series(values, index)
    return pd.DataFrame(values, index, columns)


def _missing(reader: Reader, node: Node) -> Any:
    import pandas as pd

    return {"NAType": pd.NA, "NaTType": pd.NaT}[node["type"]]


CODECS |= {
    "float": Codec(
        of(float),
        lambda writer, value, where: {"value": repr(value)},
        lambda reader, node: _no_number(float(node["value"])),
    ),
    "tuple": Codec(
        of(tuple),
        lambda writer, value, where: {"items": writer.pack(list(value), where)},
        lambda reader, node: tuple(reader.unpack(node["items"])),
    ),
    "dict": Codec(
        of(dict),
        _pack_dict,
        lambda reader, node: {
            reader.unpack(key): reader.unpack(entry) for key, entry in node["items"]
        },
    ),
    "missing": Codec(
        _pandas("NAType", "NaTType"),
        lambda writer, value, where: {"type": type(value).__name__},
        _missing,
    ),
    "timestamp": Codec(_pandas("Timestamp"), _timestamp, _read_timestamp),
    "table": Codec(_pandas("DataFrame", "Series"), _table, _read_table),
    "date": Codec(of(dt.date, dt.datetime, dt.time), _date, _read_date),
    "timedelta": Codec(
        of(dt.timedelta),
        lambda writer, value, where: {
            "parts": [value.days, value.seconds, value.microseconds]
        },
        lambda reader, node: dt.timedelta(*node["parts"]),
    ),
    "decimal": Codec(
        of(Decimal),
        lambda writer, value, where: {"value": str(value)},
        lambda reader, node: Decimal(node["value"]),
    ),
    "scalar": Codec(
        lambda value: isinstance(value, np.generic),
        _scalar,
        lambda reader, node: _read_array(reader, node["array"])[()],
    ),
    "array": Codec(
        lambda value: isinstance(value, np.ndarray) and not hasattr(value, "mask"),
        _array,
        _read_array,
    ),
    "tensor": Codec(
        of(Tensor), _tensor, lambda reader, node: reader.tensors[node["tensor"]]
    ),
    "dtype": Codec(
        of(torch.dtype),
        lambda writer, value, where: {"value": str(value)},
        lambda reader, node: TORCH_DTYPES[node["value"]],
    ),
    "device": Codec(
        of(torch.device),
        lambda writer, value, where: {"value": str(value)},
        lambda reader, node: torch.device(node["value"]),
    ),
}


def _no_number(value: float) -> float:
    """Return what JSON has no number for."""
    if math.isfinite(value):
        raise ValueError(f"{value} is a number that JSON holds itself")
    return value
