"""Values without a class of skmtl: numbers, containers, dates, arrays, tables."""

import datetime as dt
import math
import re
import sys
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._estimators.persistence.codecs import (
    CODECS,
    Codec,
    Node,
    Reader,
    Writer,
    make_store_error,
)

#: Types of arrays that hold no objects.
PLAIN = re.compile(r"[<>|=]?[biufcmMUS]\d+(\[\w+\])?|\|b1")
#: Times as pandas writes them, and time zones of a fixed offset.
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?")
OFFSET = re.compile(r"UTC([+-]\d\d:\d\d)?")
#: Types of arrays that are tensors as they are.
NATIVE = {"b1", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8"}
DATES: dict[str, Any] = {"date": dt.date, "datetime": dt.datetime, "time": dt.time}
TORCH_DTYPES = {
    str(getattr(torch, name)): getattr(torch, name)
    for name in ("float16", "bfloat16", "float32", "float64")
}


def match_type(*types: type) -> Callable[[Any], bool]:
    """Return a test for objects of exactly these types."""
    return lambda value: type(value) in types


def _match_pandas(*names: str) -> Callable[[Any], bool]:
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


def _pack_array(writer: Writer, value: NDArray[Any], where: str) -> Node:
    array = np.asarray(value)
    if array.dtype == object:
        items = [writer.pack(v, f"{where}.{i}") for i, v in enumerate(array.flat)]
        return {"shape": list(array.shape), "items": items}
    if not PLAIN.fullmatch(array.dtype.str):
        raise make_store_error(value, where, f" of type {array.dtype}")
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
    array = reader.read_array(node["tensor"])
    if "dtype" not in node:
        return array
    if not PLAIN.fullmatch(node["dtype"]):
        raise ValueError(f"{node['dtype']!r} is no type of an array")
    dtype = np.dtype(node["dtype"])
    if array.dtype != np.uint8 or array.shape[-1:] != (dtype.itemsize,):
        raise ValueError(f"an array of type {dtype} has other bytes")
    octets, shape = array.reshape(-1), array.shape[:-1]
    if dtype.kind == "U":  # numpy believes any number to be one of a character
        characters = octets.view(np.dtype("u4").newbyteorder(dtype.byteorder))
        if (characters > sys.maxunicode).any():
            raise ValueError("an array of strings has other characters")
    return octets.view(dtype).reshape(shape)


def _pack_tensor(writer: Writer, value: Tensor, where: str) -> Node:
    if value.layout != torch.strided:
        raise make_store_error(value, where, f" of layout {value.layout}")
    return {"tensor": writer.keep(value, where)}


def _pack_timestamp(_writer: Writer, value: Any, where: str) -> Node:
    tz = None if value.tz is None else str(value.tz)
    if not _is_time_zone(tz):
        raise make_store_error(value, where, f" in the time zone {tz!r}")
    utc = value if tz is None else value.tz_convert("UTC").tz_localize(None)
    return {"value": [utc.isoformat(), value.unit, tz]}


def _is_time_zone(name: object) -> bool:
    """Tell names of time zones from paths, which pandas would read."""
    if name is None or (isinstance(name, str) and OFFSET.fullmatch(name)):
        return True
    return name in zoneinfo.available_timezones()


def _read_timestamp(parts: list[Any]) -> Any:
    import pandas as pd

    text, unit, tz = parts
    if not ISO.fullmatch(text) or not _is_time_zone(tz):
        raise ValueError(f"{text!r} in the time zone {tz!r} is no time")
    stamp = pd.Timestamp(text).as_unit(unit)
    return stamp if tz is None else stamp.tz_localize("UTC").tz_convert(tz)


def _is_date(value: object) -> bool:
    """Tell dates and times without a time zone, or one that is a fixed offset."""
    zone = type(getattr(value, "tzinfo", None))
    return type(value).__name__ in DATES and zone in (type(None), dt.timezone)


def _read_date(parts: list[str]) -> Any:
    name, text = parts
    return DATES[name].fromisoformat(text)


def _pack_table(writer: Writer, value: Any, where: str) -> Node:
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
    expected = (len(index),) if columns is None else (len(index), len(columns))
    if not isinstance(values, np.ndarray) or values.shape != expected:
        raise ValueError("a table has another shape than its names")
    reader.budget.charge(values.nbytes)  # pandas copies it
    if columns is None:
        return pd.Series(values, index)
    return pd.DataFrame(values, index, columns)


def _read_missing(name: str) -> Any:
    import pandas as pd

    return {"NAType": pd.NA, "NaTType": pd.NaT}[name]


def _no_number(text: str) -> float:
    """Return what JSON has no number for."""
    if math.isfinite(float(text)):
        raise ValueError(f"{text} is a number that JSON holds itself")
    return float(text)


def make_simple_codec(
    takes: Callable[[Any], bool],
    to_json: Callable[[Any], Any],
    from_json: Callable[[Any], Any],
) -> Codec:
    """Return the codec of what is one value of JSON."""
    return Codec(
        takes,
        lambda _writer, value, _where: {"value": to_json(value)},
        lambda _reader, node: from_json(node["value"]),
    )


CODECS |= {
    "float": make_simple_codec(match_type(float), repr, _no_number),
    "tuple": Codec(
        match_type(tuple),
        lambda writer, value, where: {"items": writer.pack(list(value), where)},
        lambda reader, node: tuple(reader.unpack(node["items"])),
    ),
    "dict": Codec(
        match_type(dict),
        _pack_dict,
        lambda reader, node: {
            reader.unpack(key): reader.unpack(entry) for key, entry in node["items"]
        },
    ),
    "missing": make_simple_codec(
        _match_pandas("NAType", "NaTType"),
        lambda value: type(value).__name__,
        _read_missing,
    ),
    "timestamp": Codec(
        _match_pandas("Timestamp"),
        _pack_timestamp,
        lambda _reader, node: _read_timestamp(node["value"]),
    ),
    "table": Codec(_match_pandas("DataFrame", "Series"), _pack_table, _read_table),
    "date": make_simple_codec(
        _is_date, lambda value: [type(value).__name__, value.isoformat()], _read_date
    ),
    "timedelta": make_simple_codec(
        match_type(dt.timedelta),
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: dt.timedelta(*parts),
    ),
    "decimal": make_simple_codec(match_type(Decimal), str, Decimal),
    "scalar": Codec(
        lambda value: isinstance(value, np.generic),
        lambda writer, value, where: {"array": _pack_array(writer, value, where)},
        lambda reader, node: _read_array(reader, node["array"])[()],
    ),
    "array": Codec(
        lambda value: isinstance(value, np.ndarray) and not hasattr(value, "mask"),
        _pack_array,
        _read_array,
    ),
    "tensor": Codec(
        match_type(Tensor),
        _pack_tensor,
        lambda reader, node: reader.tensors[node["tensor"]],
    ),
    "dtype": make_simple_codec(match_type(torch.dtype), str, TORCH_DTYPES.__getitem__),
    "device": make_simple_codec(match_type(torch.device), str, torch.device),
}
