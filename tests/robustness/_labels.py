"""Labels of all kinds, in every form in which users have them, some missing."""

import numpy as np
import pandas as pd
import polars as pl
import torch
from hypothesis import strategies as st
from scipy import sparse

from tests.robustness._tables import NUMBERS

MOST_TASKS = 6

#: What the classes of a task may be.
CLASSES = {
    "two": [0, 1],
    "three": [0, 1, 2],
    "twelve": list(range(12)),
    "far apart": [-7, 3, 2**40],
    "floats": [0.0, 1.0, 5.0],
    "one": [4],
    "bools": [False, True],
    "words": ["no", "yes", "perhaps é"],
    "digits as words": ["1", "10", "2"],
    "one word": ["only"],
}
#: Of which a table of numbers can be made.
NUMERIC = ("two", "three", "twelve", "far apart", "floats", "one")
#: What the numbers of a task may be.
VALUES = (*NUMBERS, "integers")


class Task:
    """Labels of one task: `values` has them as Python's own, None where missing."""

    def __init__(self, kind, what, seed, missing):
        self.kind = kind
        self.what = what
        self.seed = seed
        self.missing = missing

    def __repr__(self):
        return f"Task({', '.join(map(repr, vars(self).values()))})"

    def values(self, n, part=0):
        """Return n labels; those of another part are drawn anew from the same."""
        rng = np.random.default_rng([self.seed, part])
        if self.kind == "classification":
            classes = CLASSES[self.what]
            labels = [classes[i] for i in rng.integers(len(classes), size=n)]
        elif self.what == "integers":
            labels = rng.integers(-5, 6, size=n).tolist()
        else:
            labels = NUMBERS[self.what](rng, (n,)).tolist()
        gaps = rng.uniform(size=n) < self.missing
        return [None if gap else v for gap, v in zip(gaps, labels, strict=True)]


def _rows(columns, missing):
    """Return an array of objects with one way or several to mark what is missing."""
    table = np.empty((len(columns[0]), len(columns)), dtype=object)
    for t, column in enumerate(columns):
        for i, value in enumerate(column):
            table[i, t] = missing[(i + t) % len(missing)] if value is None else value
    return table


def _gaps(columns):
    return np.array([[v is None for v in column] for column in columns]).T


def _typed(columns):
    """Return an array of the type that all labels have in common, gaps filled."""
    values = [v for column in columns for v in column if v is not None]
    dtype = np.array(values).dtype if values else float
    fill = values[0] if values else 0
    filled = [[fill if v is None else v for v in column] for column in columns]
    return np.array(filled, dtype=dtype).T


def _array(columns):
    gaps, typed = _gaps(columns), _typed(columns)
    return np.where(gaps, np.nan, typed) if gaps.any() else typed


def _series(column, name=None):
    return pd.Series(column, name=name)


def _frame(columns):
    return pd.DataFrame({f"t{t}": _series(c) for t, c in enumerate(columns)})


def _converted(table, backend="numpy_nullable"):
    with np.errstate(invalid="ignore"):  # older versions try huge numbers as integers
        return table.convert_dtypes(dtype_backend=backend)


def _polars(columns):
    return pl.DataFrame(
        {f"t{t}": pl.Series(column, strict=False) for t, column in enumerate(columns)}
    )


#: Forms of any labels: from columns of Python's own to y and missing_label.
FORMS = {
    "objects": lambda C: (_rows(C, [None]), np.nan),
    "every mark": lambda C: (
        _rows(C, [None, np.nan, pd.NA, pd.NaT, np.float32("nan"), np.ma.masked]),
        np.nan,
    ),
    "lists": lambda C: (_rows(C, [None]).tolist(), np.nan),
    "masked objects": lambda C: (np.ma.MaskedArray(_rows(C, [0]), _gaps(C)), np.nan),
    "question marks": lambda C: (_rows(C, ["?"]), "?"),
    "DataFrame": lambda C: (_frame(C), np.nan),
    "DataFrame of objects": lambda C: (_frame(C).astype(object), np.nan),
    "nullable": lambda C: (_converted(_frame(C)), np.nan),
    "Arrow": lambda C: (_converted(_frame(C), "pyarrow"), np.nan),
    "category": lambda C: (_frame(C).astype("category"), np.nan),
    "polars": lambda C: (_polars(C), np.nan),
}
#: Forms of numbers only.
NUMBER_FORMS = {
    "array": lambda C: (_array(C), np.nan),
    "Fortran": lambda C: (np.asfortranarray(_array(C)), np.nan),
    "masked": lambda C: (np.ma.MaskedArray(_typed(C), _gaps(C)), np.nan),
    "minus one": lambda C: (np.where(_gaps(C), -1, _typed(C)), -1),
    "tensor": lambda C: (torch.from_numpy(_array(C)), np.nan),
    "sparse": lambda C: (sparse.csr_array(_array(C)), np.nan),
}
#: Forms of one task alone, which y of one dimension has.
FLAT_FORMS = {
    "flat objects": lambda C: (_rows(C, [None])[:, 0], np.nan),
    "list": lambda C: (list(C[0]), np.nan),
    "Series": lambda C: (_series(C[0], "y"), np.nan),
    "nullable Series": lambda C: (_converted(_series(C[0])), np.nan),
    "categorical": lambda C: (pd.Categorical(C[0]), np.nan),
    "polars Series": lambda C: (pl.Series("y", C[0], strict=False), np.nan),
}


class Labels:
    """Labels of several tasks, in one form."""

    def __init__(self, tasks, form):
        self.tasks = tasks
        self.form = form

    def __repr__(self):
        return f"Labels({self.tasks!r}, {self.form!r})"

    def columns(self, n, part=0):
        """Return the labels of n rows, task by task, as Python's own."""
        return [task.values(n, part) for task in self.tasks]

    def of(self, columns):
        """Return y of these labels, and what marks missing ones."""
        return {**FORMS, **NUMBER_FORMS, **FLAT_FORMS}[self.form](columns)

    def given(self, n, part=0):
        """Return y of n rows, and what marks missing ones."""
        return self.of(self.columns(n, part))


@st.composite
def labels(draw, kinds, forms=None, gaps=(0, 0, 0.1, 0.5, 0.9)):
    """Draw labels of tasks whose kinds are among those given."""
    n_tasks = draw(st.integers(1, MOST_TASKS))
    of_classes, seeds = draw(st.booleans()), st.integers(0, 2**32 - 1)
    numeric = of_classes or "classification" not in kinds
    tasks = []
    for _ in range(n_tasks):
        kind = draw(st.sampled_from(kinds))
        what = VALUES if kind == "regression" else NUMERIC if numeric else CLASSES
        gap = draw(st.sampled_from(gaps))
        tasks.append(Task(kind, draw(st.sampled_from(list(what))), draw(seeds), gap))
    if forms is None:
        forms = [*FORMS, *(NUMBER_FORMS if numeric else ())]
        forms = [*(FLAT_FORMS if n_tasks == 1 else ()), *forms]
        if any(task.what in ("few values", "integers") for task in tasks):
            forms = [form for form in forms if form != "minus one"]  # a value of theirs
    return Labels(tasks, draw(st.sampled_from(forms)))
