"""What Arrow reads: row groups of files, and slices of tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes of a column of a file that are read at a time.
BUFFER = 2**16
#: Rows of columns of categories that are read at a time when a table is opened.
READ_ROWS = 2**17
#: Categories that a column may have.
MOST_LEVELS = 2**16


class ArrowRows:
    """Consecutive rows of a table: row groups of files, or a slice."""

    def __init__(
        self, parts: Sequence[Any], names: list[str], dtype: Any, levels: dict[str, Any]
    ) -> None:
        self.parts = parts
        self.names = names
        self.dtype = dtype
        self.levels = levels
        self.n_rows = sum(part.n_rows for part in parts)

    def blocks(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield the rows in arrays of some size; only the last may have fewer."""
        import pyarrow as pa

        to = pa.from_numpy_dtype(self.dtype)
        batches = (b for part in self.parts for b in part.batches(self.names, size))
        for table in _regroup_batches(batches, size):
            block = np.empty((table.num_rows, len(self.names)), self.dtype)
            for j, name in enumerate(self.names):
                block[:, j] = self._numbers(name, table[name], to)
            yield block

    def _numbers(self, name: str, column: Any, to: Any) -> NDArray[Any]:
        from pyarrow import compute

        if name in self.levels:
            labels = self.levels[name]
            column = compute.index_in(column.cast(labels.type), labels)
        # Not every integer is a number of that type, nor need it be.
        return column.cast(to, safe=False).to_numpy()  # type: ignore[no-any-return]

    def identity(self) -> Any:
        """Return what tells the rows from others, without reading them."""
        return [part.identity() for part in self.parts]


@dataclass(frozen=True)
class FilePart:
    """A file, or a row group of it."""

    fragment: Any  # What reads it.
    schema: Any  # Columns of the data set, those of its folders' names included.
    n_rows: int  # Number of rows.

    def batches(self, names: list[str], size: int) -> Iterator[Any]:
        """Yield record batches of some columns, of few rows each."""
        from pyarrow import dataset

        options = None
        n_rows = READ_ROWS  # other formats are read in blocks of bytes
        if isinstance(self.fragment, dataset.ParquetFileFragment):
            n_rows = size
            # The defaults hold all columns of a row group in memory.
            options = dataset.ParquetFragmentScanOptions(
                use_buffered_stream=True, buffer_size=BUFFER, pre_buffer=False
            )
        scanner = dataset.Scanner.from_fragment(
            self.fragment,
            schema=self.schema,
            columns=names,
            batch_size=n_rows,
            batch_readahead=1,
            fragment_readahead=1,
            fragment_scan_options=options,
        )
        try:
            with scanner.to_reader() as reader:
                # Arrow reads ahead in its own threads, and can crash if a reader is
                # deleted before it is exhausted or closed.
                yield from reader
        except (OSError, ValueError) as error:
            raise OSError(
                f"The file {self.fragment.path!r} is damaged, or has changed since "
                f"open_table: {_reason(error)}."
            ) from error

    def identity(self) -> Any:
        """Return the name, size and time of the file, and which part of it this is."""
        fragment = self.fragment
        info = fragment.filesystem.get_file_info(fragment.path)
        groups = [group.id for group in getattr(fragment, "row_groups", [])]
        return [fragment.path, info.size, info.mtime_ns, groups, self.n_rows]


@dataclass(frozen=True)
class TableSlice:
    """Rows of a table that is in memory, or mapped to it."""

    table: Any  # The table.
    start: int  # Which rows.
    stop: int  # Which rows.

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    def batches(self, names: list[str], size: int) -> Iterator[Any]:
        """Yield record batches of some columns, of few rows each."""
        for start in range(self.start, self.stop, size):
            stop = min(start + size, self.stop)
            yield from _slice_table(self.table, start, stop).select(names).to_batches()

    def identity(self) -> Any:
        """Return what tells the rows from others."""
        mark = getattr(self.table, "_fingerprint", None)
        return [mark or _slice_table(self.table, self.start, self.stop), self.start]


class ArrowTable:
    """A table that is open."""

    def __init__(self, table: Any, schema: Any) -> None:
        self.table = table
        self.schema = schema

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    @classmethod
    def open(cls, table: Any, format: str) -> ArrowTable:
        """Open a file, a folder, or what is open."""
        try:
            import pyarrow
            from pyarrow import dataset
        except ImportError as error:
            raise ImportError(
                "open_table reads tables by pyarrow: pip install 'skmtl[tables]'."
            ) from error
        if isinstance(table, list | tuple | str | os.PathLike):
            table = _dataset(table, format)
        if isinstance(table, dataset.Dataset | pyarrow.Table):
            return cls(table, table.schema)
        if hasattr(table, "with_format") and hasattr(table, "num_rows"):
            table = table.with_format("arrow")
            return cls(table, table.features.arrow_schema)
        raise ValueError(
            "The table must be a path, a list of paths, a pyarrow.dataset.Dataset, a "
            "pyarrow.Table or one split of a datasets.Dataset. Got a "
            f"{type(table).__name__}."
        )

    def parts(self, size: int) -> Iterator[FilePart | TableSlice]:
        """Yield all parts, slices of some size."""
        if not hasattr(self.table, "get_fragments"):
            n_rows = len(self.table)
            for start in range(0, n_rows, size):
                yield TableSlice(self.table, start, min(start + size, n_rows))
            return
        for fragment in self.table.get_fragments():
            if hasattr(fragment, "split_by_row_group"):
                for part in fragment.split_by_row_group():
                    n_rows = sum(group.num_rows for group in part.row_groups)
                    yield FilePart(part, self.schema, n_rows)
            else:
                yield FilePart(fragment, self.schema, fragment.count_rows())

    def levels(self, names: list[str]) -> dict[str, Any]:
        """Return the labels of columns of categories, each an array; reads them all."""
        import pyarrow as pa
        from pyarrow import compute

        kinds = {name: value_type(self.schema.field(name).type) for name in names}
        categories = {name: pa.array([], kind) for name, kind in kinds.items()}
        parts = self.parts(READ_ROWS) if names else ()
        for batch in (b for part in parts for b in part.batches(names, READ_ROWS)):
            for name, values in categories.items():
                new = compute.unique(batch[name].cast(values.type)).drop_null()
                both = compute.unique(pa.concat_arrays([values, new]))
                if len(both) > MOST_LEVELS:
                    raise ValueError(
                        f"Column {name!r} of the table has more than {MOST_LEVELS} "
                        "categories: leave it out of 'features', or write numbers."
                    )
                categories[name] = both
        return categories

    def labels(self, targets: list[str]) -> Any:
        """Return columns of labels as a DataFrame, in types that know missing ones."""
        import pandas as pd
        import pyarrow as pa

        types = {pa.bool_(): pd.BooleanDtype()}
        for bits in (8, 16, 32, 64):
            for sign in ("", "u"):
                arrow = getattr(pa, f"{sign}int{bits}")()
                types[arrow] = getattr(pd, f"{sign.upper()}Int{bits}Dtype")()
        if hasattr(self.table, "get_fragments"):
            table = self.table.to_table(columns=targets)
        else:
            table = _slice_table(self.table, 0, len(self.table)).select(targets)
        labels = table.to_pandas(
            types_mapper=types.get, strings_to_categorical=True, self_destruct=True
        )
        del table
        pa.default_memory_pool().release_unused()
        return labels


def _dataset(paths: Any, format: str) -> Any:
    import pyarrow
    from pyarrow import dataset

    several = isinstance(paths, list | tuple)
    source = list(map(os.fspath, paths)) if several else os.fspath(paths)
    try:
        return dataset.dataset(source, format=format, partitioning="hive")
    except (pyarrow.ArrowInvalid, ValueError, OSError) as error:
        raise ValueError(
            f"open_table cannot read {paths!r} as {format!r}: {_reason(error)}."
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no {str(error)!r}"
    return str(error).partition("\n")[0].rstrip(".")


def _slice_table(table: Any, start: int, stop: int) -> Any:
    """Return rows of a pyarrow.Table or a datasets.Dataset as a pyarrow.Table."""
    if hasattr(table, "with_format"):
        return table[start:stop]
    return table.slice(start, stop - start)


def _regroup_batches(batches: Iterable[Any], size: int) -> Iterator[Any]:
    """Yield tables of some size made of record batches of any; the last may be less."""
    import pyarrow as pa

    buffered: list[Any] = []
    n_rows = 0
    for batch in batches:
        buffered.append(batch)
        n_rows += batch.num_rows
        while n_rows >= size:
            table = pa.Table.from_batches(buffered)
            yield table.slice(0, size)
            buffered = table.slice(size).to_batches()
            n_rows -= size
    if n_rows:
        yield pa.Table.from_batches(buffered)


def make_parts(
    opened: ArrowTable,
    names: list[str],
    dtype: object,
    levels: dict[str, Any],
    size: int,
) -> list[ArrowRows]:
    """Return pieces of a table, small parts together."""
    groups: list[list[Any]] = [[]]
    n_rows = 0  # of the last group
    for part in opened.parts(size):
        if n_rows >= size:
            groups.append([])
            n_rows = 0
        if part.n_rows:
            groups[-1].append(part)
            n_rows += part.n_rows
    return [ArrowRows(parts, names, dtype, levels) for parts in groups if parts]


def find_category_columns(schema: Any, names: list[str]) -> list[str]:
    """Return the columns that hold categories; refuse what holds no numbers either."""
    from pyarrow import types

    columns = []
    numbers = types.is_integer, types.is_floating, types.is_boolean, types.is_decimal
    for name in names:
        kind = schema.field(name).type
        strings = types.is_string(kind) or types.is_large_string(kind)
        if strings or types.is_dictionary(kind):
            columns.append(name)
        elif not any(test(kind) for test in numbers):
            raise ValueError(
                f"Column {name!r} of the table holds {kind}, but inputs must be "
                "numbers, or strings for categories: write it as such, or leave it out "
                "of 'features'."
            )
    return columns


def value_type(kind: Any) -> Any:
    """Return the type of the labels of a column."""
    return getattr(kind, "value_type", kind)


def choose_dtype(schema: Any, names: list[str]) -> np.dtype[Any]:
    """Return the type of numbers that all columns of numbers fit in."""
    from pyarrow import types

    kinds = [schema.field(name).type for name in names]
    # Decimals have no numpy type of their own.
    dtypes = [np.float64 if types.is_decimal(k) else k.to_pandas_dtype() for k in kinds]
    return np.result_type(np.float32, *dtypes)  # type: ignore[no-any-return]
