"""Columns of categories in X: codes instead of labels."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.preprocessing import OrdinalEncoder

from skmtl._columns import native_values, series_of

#: Types of categories in pandas and polars.
TYPES = {"category", "Categorical", "Enum"}


class Categories:
    """Which columns of a table hold categories, and their codes.

    Attributes
    ----------
    columns : list of int
        Positions of these columns.
    names : list of str
        Their names.
    encoder : OrdinalEncoder
        Knows the categories.
    """

    columns: list[int]
    names: list[Any]
    encoder: OrdinalEncoder

    @classmethod
    def of(cls, X: Any) -> Self | None:
        """Read the categories of a table.

        Parameters
        ----------
        X : DataFrame or array-like
            The table.

        Returns
        -------
        Categories or None
            None where the table has no column of categories.
        """
        types = list(getattr(X, "dtypes", [])) if hasattr(X, "columns") else []
        columns = [
            i for i, dtype in enumerate(types) if str(dtype).split("(")[0] in TYPES
        ]
        if not columns:
            return None
        self = cls()
        self.columns = columns
        self.names = [X.columns[i] for i in columns]
        self.encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1
        ).fit(self._labels(X))
        return self

    def sizes(self, n_features: int) -> tuple[int, ...]:
        """Return the number of categories of each column, zero for numbers.

        Parameters
        ----------
        n_features : int
            Number of columns of the table.

        Returns
        -------
        tuple of int
            One number per column.
        """
        sizes = np.zeros(n_features, dtype=np.int64)
        known = self.encoder.categories_
        sizes[self.columns] = [sum(label == label for label in k) for k in known]
        return tuple(sizes.tolist())

    def coded(self, X: Any) -> Any:
        """Return a table with codes in place of categories.

        Parameters
        ----------
        X : DataFrame or array-like
            The table.

        Returns
        -------
        DataFrame or ndarray
            The table: zero for a category that is not known, NaN for a missing one.
        """
        X = X.toarray() if issparse(X) else X
        if np.ndim(X) != 2 or np.shape(X)[1] <= self.columns[-1]:
            return X  # refused later, for its shape
        labels = self._labels(X)
        codes = self.encoder.transform(labels) + 1
        codes[labels != labels] = np.nan  # also where fit saw none missing
        if hasattr(X, "with_columns"):  # polars
            return X.with_columns(
                type(X[:, i])(X.columns[i], code)
                for i, code in zip(self.columns, codes.T, strict=True)
            )
        if hasattr(X, "isetitem"):  # pandas
            X = X.copy(deep=False)
            for i, code in zip(self.columns, codes.T, strict=True):
                X.isetitem(i, code)
            return X
        X = np.array(X, dtype=object)
        X[:, self.columns] = codes
        return X

    def _labels(self, X: Any) -> NDArray[Any]:
        """Return labels of shape (n_samples, n_columns), NaN where missing."""
        if not hasattr(X, "columns"):
            labels = np.array(X, dtype=object)[:, self.columns]
            labels[labels == None] = np.nan  # noqa: E711
            return labels
        labels = np.empty((len(X), len(self.columns)), dtype=object)
        series = series_of(X)
        for j, i in enumerate(self.columns):
            values, mask = native_values(series[i])
            labels[:, j] = values.tolist()
            labels[slice(0) if mask is None else mask, j] = np.nan
        return labels
