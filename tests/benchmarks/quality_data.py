"""Data sets of the benchmark of quality: a folder's, or scikit-learn's own."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.model_selection import train_test_split

from skmtl.datasets import make_multi_digits

Split = tuple[NDArray[np.intp], NDArray[np.intp]]

#: Rows to train on at most, by the name of the set.
MAX_ROWS = {"census_kdd": 50_000}
#: Sets of a folder that take many minutes; run where --sets names them.
HEAVY = ("goemotions", "multimnist", "toxcast")


@dataclass
class DataSet:
    """Inputs, labels with NaN where one is missing, and how to split the rows.

    Attributes
    ----------
    types : list of {"binary", "multiclass", "regression"}
        Kind of each task.
    categorical : list
        Columns of X that hold categories.
    """

    name: str
    X: Any
    Y: NDArray[np.float64]
    types: list[str]
    categorical: list[Any] = field(default_factory=list)
    own_split: Callable[[int], Split] | None = None

    @property
    def kinds(self) -> list[str]:
        """Kind of each task in the words of `skmtl.MultiTaskEstimator`."""
        return [t if t == "regression" else "classification" for t in self.types]

    @property
    def complete(self) -> bool:
        """Whether no label is missing and all tasks are of one kind."""
        return len(set(self.kinds)) == 1 and not np.isnan(self.Y).any()

    @property
    def sparse(self) -> bool:
        """Whether inputs are mostly zero, as bits and counts of words are."""
        return not self.categorical and float(np.mean(np.asarray(self.X) == 0)) > 0.8

    def rows(self, rows: NDArray[np.intp]) -> Any:
        return self.X.iloc[rows] if isinstance(self.X, pd.DataFrame) else self.X[rows]

    def split(self, seed: int, max_rows: int | None = None) -> Split:
        """Return the rows to train on, max_rows at most, and those to test on."""
        if self.own_split is not None:
            train, test = self.own_split(seed)
        else:
            rows = np.arange(len(self.Y))
            train, test = train_test_split(rows, test_size=0.25, random_state=seed)
        limit = max_rows or MAX_ROWS.get(self.name, len(train))
        if limit < len(train):
            chosen = np.random.default_rng(seed).permutation(train)[:limit]
            train = np.sort(chosen)
        return train, test


def module_of(folder: Path) -> ModuleType:
    """Import a folder's load.py."""
    spec = importlib.util.spec_from_file_location("load", folder / "load.py")
    if spec is None or spec.loader is None or not (folder / "load.py").is_file():
        raise FileNotFoundError(f"There is no load.py in {folder}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(folder: Path | None) -> list[str]:
    """Return the names of all sets but the heavy ones."""
    found = sorted(OWN) if folder is None else module_of(folder).names()
    return [name for name in found if name not in HEAVY]


def load(name: str, folder: Path | None) -> DataSet:
    """Load a set by its name."""
    if folder is None:
        return OWN[name]()
    module = module_of(folder)
    d = module.load(name)
    split = getattr(module, "seeded_split", None)
    return DataSet(
        name,
        d["X"],
        np.asarray(d["Y"], dtype=float),
        list(d["task_types"]),
        list(d.get("categorical", [])),
        None if split is None else lambda seed: split(d, seed=seed),
    )


def _digits() -> DataSet:
    """Which digit, whether it is odd, whether its shape has closed loops."""
    X, y = datasets.load_digits(return_X_y=True)
    Y = np.column_stack([y, y % 2, np.isin(y, [0, 6, 8, 9])])
    return DataSet("digits", X, Y.astype(float), ["multiclass", "binary", "binary"])


def _multi_digits() -> DataSet:
    """Which two digits overlap, as a table of pixels."""
    X, y = make_multi_digits(2000, random_state=0)
    return DataSet("multi_digits", X.reshape(len(X), -1), y * 1.0, ["multiclass"] * 2)


def _breast_cancer() -> DataSet:
    """Whether a tumour is malignant, half of the labels missing, and two measures."""
    frame = datasets.load_breast_cancer(as_frame=True).frame
    Y = frame[["target", "mean radius", "mean concavity"]].to_numpy(dtype=float)
    X = frame.loc[:, "radius error":"fractal dimension error"].to_numpy()
    Y[np.random.default_rng(0).random(len(Y)) < 0.5, 0] = np.nan
    return DataSet("breast_cancer", X, Y, ["binary", "regression", "regression"])


def _moved(name: str, columns: list[int], types: list[str]) -> DataSet:
    """Return scikit-learn's set with some columns of X as tasks beside its target."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    Y = np.column_stack([y, X[:, columns]]).astype(float)
    return DataSet(name, np.delete(X, columns, axis=1), Y, types)


def _linnerud() -> DataSet:
    X, Y = datasets.load_linnerud(return_X_y=True)
    return DataSet("linnerud", X, Y, ["regression"] * 3)


#: scikit-learn's sets as tasks that share their inputs.
OWN: dict[str, Callable[[], DataSet]] = {
    "breast_cancer": _breast_cancer,
    "diabetes": lambda: _moved("diabetes", [2, 3], ["regression"] * 3),
    "digits": _digits,
    "iris": lambda: _moved("iris", [3], ["multiclass", "regression"]),
    "linnerud": _linnerud,
    "multi_digits": _multi_digits,
    "wine": lambda: _moved("wine", [0, 6], ["multiclass", "regression", "regression"]),
}
