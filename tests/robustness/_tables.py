"""Tables in every form in which users have them."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch
from hypothesis import strategies as st
from scipy import sparse

MOST_ROWS, MOST_FEATURES = 40, 8


def _strided(X):
    wide = np.zeros((2 * len(X), 3 * X.shape[1]), X.dtype)
    wide[::2, 1::3] = X
    return wide[::2, 1::3]


def _reversed(X):
    return np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]


def _read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def _on_disk(X):
    if not X.size:  # which cannot be mapped
        return X
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        np.save(path, X)
        return np.load(path, mmap_mode="r")  # a file without a name stays open


def _integers(X, dtype):
    return np.clip(np.nan_to_num(np.round(X)), -100, 100).astype(dtype)


def _frame(X):
    return pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])


def _nullable(X, dtype):
    # Where Arrow tells NaN from null, only null is missing.
    return _frame(X.astype(object)).where(~np.isnan(X), None).astype(dtype)


def _small(X):
    """Return numbers from 0 to 3, in which categories can be told."""
    return _integers(X, np.int64) % 4


def _categories(X, dtype):
    """Return numbers with a first column of categories, some of them missing."""
    frame = _frame(X)
    words = np.array(["a", "b", "é d", ""], dtype=object)[_small(X[:, 0])]
    words[np.isnan(X[:, 0])] = None
    frame["x0"] = pd.Series(words, index=frame.index, dtype=dtype)
    return frame


def _coded(X):
    """Return numbers with a first column of categories that are numbers."""
    frame = _frame(X)
    frame["x0"] = pd.Categorical(_small(X[:, 0]), categories=range(4))
    return frame


def _bools(X):
    frame = _frame(X)
    frame["x0"] = X[:, 0] > 0
    return frame


def _polars(X):
    return pl.DataFrame({f"x{i}": column for i, column in enumerate(X.T)})


def _polars_words(X, dtype):
    words = np.array(["a", "b", "c", "d"])[_small(X[:, 0])].tolist()
    missing = np.isnan(X[:, 0]).tolist()
    words = [None if m else w for w, m in zip(words, missing, strict=True)]
    return _polars(X).with_columns(pl.Series("x0", words, dtype=dtype))


#: Forms of a table, from a float64 array of shape (n, d) that may hold NaN.
DENSE = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "long double": lambda X: X.astype(np.longdouble),
    "big endian": lambda X: X.astype(">f8"),
    "int8": lambda X: _integers(X, np.int8),
    "int64": lambda X: _integers(X, np.int64),
    "uint16": lambda X: _integers(abs(X), np.uint16),
    "bool": lambda X: X > 0,
    "object": lambda X: X.astype(object),
    "list": lambda X: X.tolist(),
    "Fortran": np.asfortranarray,
    "strided": _strided,
    "reversed": _reversed,
    "read-only": _read_only,
    "memmap": _on_disk,
    "tensor": torch.from_numpy,
    "bfloat16": lambda X: torch.from_numpy(X).bfloat16(),
    "needs gradient": lambda X: torch.from_numpy(X).requires_grad_(),
}
SPARSE = {
    name: getattr(sparse, name)
    for kind in ("array", "matrix")
    for name in (f"{form}_{kind}" for form in ("csr", "csc", "coo", "lil", "dok"))
}
FRAMES = {
    "DataFrame": _frame,
    "nullable": lambda X: _nullable(X, "Float64"),
    "Arrow": lambda X: _nullable(X, "float64[pyarrow]"),
    "nullable integers": lambda X: _frame(_integers(X, np.int64)).astype("Int32"),
    "bools": _bools,
    "sparse frame": lambda X: _frame(X).astype(pd.SparseDtype(float, 0)),
    "object frame": lambda X: _frame(X.astype(object)),
    "numbered columns": pd.DataFrame,
    "polars": _polars,
    "polars integers": lambda X: _polars(_integers(X, np.int32)),
}
CATEGORIES = {
    "words": lambda X: _categories(X, "str"),
    "objects": lambda X: _categories(X, object),
    "category": lambda X: _categories(X, "category"),
    "string": lambda X: _categories(X, "string"),
    "Arrow words": lambda X: _categories(X, "string[pyarrow]"),
    "numbers as category": _coded,
    "polars words": lambda X: _polars_words(X, pl.String),
    "polars category": lambda X: _polars_words(X, pl.Categorical),
    "polars enum": lambda X: _polars_words(X, pl.Enum(["a", "b", "c", "d"])),
}
FORMS = {**DENSE, **SPARSE, **FRAMES, **CATEGORIES}
#: Forms that cannot hold what does not fit into a few bits.
NARROW = {"float32": 1e37, "float16": 6e4, "bfloat16": 1e37}

#: Numbers of a table, by a generator and a shape.
NUMBERS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "few values": lambda rng, shape: rng.integers(-2, 3, size=shape).astype(float),
    "mostly zeros": lambda rng, shape: (
        rng.normal(size=shape) * (rng.uniform(size=shape) < 0.2)
    ),
    "constant": lambda rng, shape: np.full(shape, rng.normal()),
    "far from zero": lambda rng, shape: 1e9 + rng.normal(size=shape),
    "all sizes": lambda rng, shape: (
        rng.normal(size=shape) * 10.0 ** rng.integers(-300, 300, size=shape)
    ),
    "huge": lambda rng, shape: 1e300 * rng.normal(size=shape),
    "tiny": lambda rng, shape: 1e-300 * rng.normal(size=shape),
    "one outlier": lambda rng, shape: np.where(
        np.arange(np.prod(shape)).reshape(shape) == 0, 1e300, rng.normal(size=shape)
    ),
}


class Table:
    """Numbers of several tables of one form: to train on, and to predict.

    Parameters
    ----------
    numbers : str
        One of `NUMBERS`.
    form : str
        One of `FORMS`.
    n_features : int
        Number of columns.
    gaps : float
        Share of numbers that are missing.
    seed : int
        What they are drawn by.
    """

    def __init__(self, numbers, form, n_features, gaps, seed):
        self.numbers = numbers
        self.form = form
        self.n_features = n_features
        self.gaps = gaps
        self.seed = seed

    def __repr__(self):
        return f"Table({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"

    def rows(self, n, part=0):
        """Return n rows as float64, those of another part independent of them."""
        rng = np.random.default_rng([self.seed, part])
        X = NUMBERS[self.numbers](rng, (n, self.n_features))
        most = NARROW.get(self.form, np.inf)
        X = np.clip(X, -most, most)
        X[rng.uniform(size=X.shape) < self.gaps] = np.nan
        return X

    def given(self, n, part=0):
        """Return n rows in the table's form."""
        return FORMS[self.form](self.rows(n, part))


@st.composite
def tables(
    draw, forms=tuple(FORMS), numbers=tuple(NUMBERS), gaps=(0, 0, 0, 0.1, 0.7, 1)
):
    """Draw a table; most have no gaps."""
    return Table(
        draw(st.sampled_from(numbers)),
        draw(st.sampled_from(forms)),
        draw(st.integers(1, MOST_FEATURES)),
        draw(st.sampled_from(gaps)),
        draw(st.integers(0, 2**32 - 1)),
    )
