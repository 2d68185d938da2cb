"""Tables that are larger than memory: Parquet and other files that Arrow reads."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from skmtl._core.validation import import_pandas
from skmtl._data.streamed_table import BLOCKS, BlockReader, StreamedTable
from skmtl.datasets._arrow import (
    ArrowTable,
    choose_dtype,
    find_category_columns,
    make_parts,
)


def open_table(
    table: object,
    targets: str | Sequence[str] = (),
    *,
    features: str | Sequence[str] | None = None,
    format: str = "parquet",
    shuffle_window: int = 2**17,
) -> tuple[Any, Any]:
    """Open a table that is larger than memory, for ``fit`` and ``predict``.

    Labels are read at once, and which categories there are. Inputs stay where they are:
    estimators read them block by block, and in each epoch of training shuffle the rows
    of a window of blocks, which come from several places of the table in a new order.

    Parameters
    ----------
    table : path-like, list of path-like, pyarrow.dataset.Dataset, pyarrow.Table or \
            datasets.Dataset
        A file or a folder of files, which may be partitioned as ``name=value``; or what
        pyarrow, or the package datasets of Hugging Face, has opened.
    targets : str or sequence of str, default=()
        Names of the columns that hold labels, one per task.
    features : str, sequence of str or None, default=None
        Names of the columns that hold inputs: numbers, booleans, or categories, which
        are strings or encoded as a dictionary. None takes all but the targets.
    format : str, default="parquet"
        Format of the files, as ``pyarrow.dataset.dataset`` takes it: "parquet",
        "feather", "csv", "orc" or "json".
    shuffle_window : int, default=131072
        Number of rows that are shuffled at a time. Up to twice as many are held in
        memory.

    Returns
    -------
    X : array-like of shape (n_samples, n_features)
        Inputs, which are read when they are needed; null becomes NaN, and a category
        its position among those of the table. Indexing it by
        rows reads nothing, so that ``train_test_split`` and splitters work;
        ``numpy.asarray`` reads all.
    y : pandas.DataFrame of shape (n_samples, n_targets) or None
        Labels, null where missing; None without targets.

    Raises
    ------
    ValueError
        If there is no such column, or one of the features holds something else, such as
        dates or lists, or more than 65,536 categories.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import open_table
    >>> data = load_linnerud(as_frame=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data.frame.to_parquet(Path(folder, "part-0.parquet"))
    ...     X, y = open_table(folder, targets=["Weight", "Pulse"])
    ...     est = MultiTaskRegressor(max_iter=2, random_state=0).fit(X, y)
    ...     est.predict(X[:3]).shape
    (3, 2)
    """
    if not isinstance(shuffle_window, Integral) or shuffle_window < 1:
        raise ValueError(
            "The 'shuffle_window' parameter must be a positive number of rows. Got "
            f"{shuffle_window!r}."
        )
    opened = ArrowTable.open(table, format)
    targets = [targets] if isinstance(targets, str) else list(targets)
    names = _names(opened.names, targets, features)
    categories = find_category_columns(opened.schema, names)
    numbers = [name for name in names if name not in categories]
    dtype, window = choose_dtype(opened.schema, numbers), int(shuffle_window)
    categories_by_name = opened.levels(categories)
    pieces = make_parts(opened, names, dtype, categories_by_name, -(-window // BLOCKS))
    levels = {
        names.index(name): values.to_pylist()
        for name, values in categories_by_name.items()
        if values
    }
    X = StreamedTable(BlockReader(pieces, len(names), dtype, window), names, levels)
    if not len(X):
        raise ValueError(f"The table has no row. Got {table!r}.")
    if not targets:
        return X, None
    import_pandas("open_table")
    return X, opened.labels(targets)


def _names(known: list[str], targets: list[str], features: Any) -> list[str]:
    """Return the names of the columns of inputs, after a check of all names."""
    if not known:
        raise ValueError("The table has no column: there may be no file in the folder.")
    names = [name for name in known if name not in targets]
    if features is not None:
        names = [features] if isinstance(features, str) else list(features)
    for parameter, given in [("targets", targets), ("features", names)]:
        unknown = [name for name in given if name not in known]
        twice = len(set(given)) < len(given)
        if unknown or twice:
            raise ValueError(
                f"The '{parameter}' parameter must name columns of the table, "
                f"{known}, each once. Got {unknown or given}."
            )
    both = [name for name in names if name in targets]
    if both or not names:
        raise ValueError(
            "The 'features' parameter must name columns that are no targets, at least "
            f"one. Got {both or names}."
        )
    return names
