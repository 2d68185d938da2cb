"""What raw inputs go through before any network: fill, scale, make levels columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.stats import rankdata
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from torch import Tensor, nn

from skmtl.encoder._inputs import (
    Array,
    InputStage,
    TrainingInputs,
    largest_numbers,
    unusual_exponents,
)
from skmtl.encoder._levels import (
    CategoryCodes,
    FrequentCategories,
    NumberKinds,
    OneHot,
    OneHotRanges,
    Survey,
)
from skmtl.encoder._sparse import SparseColumns, fit_sparse

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from skmtl.encoder._table import TableEncoder

#: Scaled inputs further from zero than this are moved there.
BOUND = 5.0
#: A float32 rounds to 2^-24 of its size: where a column lies further from zero than
#: this many times its scale, a hundredth of the scale would be lost.
FAR = 0.01 * 2**24
#: Scales above are not for float32; those below count as none.
LARGE, SMALL = 1e30, 1e-30
#: Powers of two above which, and below whose inverse, float32 cannot hold a column.
UNUSUAL = 80


class Scaler(InputStage):
    """Base class of what scales columns of numbers, after bringing them near one."""

    # (n_features, ...): Even powers of two that inputs are divided by; zero for most.
    exponents: Tensor | None

    def __init__(self, exponents: NDArray[np.int64]) -> None:
        super().__init__()
        # As integers, which no change of the type of parameters rounds.
        unusual = torch.from_numpy(exponents) if exponents.any() else None
        self.register_buffer("exponents", unusual)

    def near_one(self, X: Tensor) -> Tensor:
        """Divide inputs of columns that float32 cannot hold by powers of two."""
        if self.exponents is None:
            return X
        root = torch.exp2(-self.exponents.double() / 2)  # the whole may be infinite
        return X * root * root


class Standardization(Scaler):
    """Subtract, divide and keep within bounds."""

    # center, scale (n_features,): What is subtracted, and what the rest is divided by.
    # exponents (n_features,): Powers of two that inputs are divided by before.

    offset: Tensor | None
    factor: Tensor
    shift: Tensor

    def __init__(
        self, center: Array, scale: Array, exponents: NDArray[np.int64]
    ) -> None:
        super().__init__(exponents)
        far, offset = _offset(center, scale)
        self.needs_float64 = far or self.exponents is not None
        first = torch.from_numpy(offset) if self.needs_float64 else None
        self.register_buffer("offset", first)
        self.register_buffer("factor", torch.from_numpy(1 / scale))
        self.register_buffer("shift", torch.from_numpy((offset - center) / scale))

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features) to numbers around zero of size one."""
        if self.offset is None:
            return torch.addcmul(self.shift, X, self.factor).clamp(-BOUND, BOUND)
        Z = (self.near_one(X) - self.offset) * self.factor + self.shift
        return Z.clamp(-BOUND, BOUND).to(self.factor.dtype)


class QuantileToNormal(Scaler):
    """Map columns to a normal distribution, as `QuantileTransformer` does."""

    # Unlike there, rows that share the smallest or the largest number of a column are
    # not moved to the ends of the distribution, but to the middle of their ranks.
    # exponents (n_features,): Powers of two that inputs are divided by before.

    offset: Tensor
    # (n_features, n_quantiles): Quantiles of each column at equal steps.
    quantiles: Tensor
    ranks: Tensor

    def __init__(self, quantiles: Array, exponents: NDArray[np.int64]) -> None:
        super().__init__(exponents)
        center = np.median(quantiles, axis=1)
        scale = quantiles.std(axis=1)
        scale = np.where(scale > 0, scale, np.maximum(1, np.abs(center)))
        far, offset = _offset(center, scale)
        self.needs_float64 = far or self.exponents is not None
        ranks = np.stack([rankdata(q) - 1 for q in quantiles])  # ties share their mean
        ranks /= max(1, quantiles.shape[1] - 1)
        quantiles = (quantiles - offset[:, None]).clip(-LARGE, LARGE)
        self.register_buffer("offset", torch.from_numpy(offset))
        self.register_buffer("quantiles", torch.from_numpy(quantiles))
        self.register_buffer("ranks", torch.from_numpy(ranks))

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features) to numbers of a standard normal distribution."""
        D = (self.near_one(X) - self.offset).clamp(-LARGE, LARGE)
        D = D.to(self.quantiles.dtype).T.contiguous()
        last = self.quantiles.shape[1] - 1
        upper = torch.searchsorted(self.quantiles, D, right=True).clamp(
            min(1, last), last
        )
        lower = (upper - 1).clamp_min(0)
        low, high = self.quantiles.gather(1, lower), self.quantiles.gather(1, upper)
        step = (high - low).clamp_min(torch.finfo(D.dtype).tiny)
        share = ((D - low) / step).clamp(0, 1)
        p = torch.lerp(self.ranks.gather(1, lower), self.ranks.gather(1, upper), share)
        Z: Tensor = torch.special.ndtri(p.clamp(1e-7, 1 - 1e-7)).T  # as scikit-learn
        return Z.clamp(-BOUND, BOUND)


class TableStage(InputStage):
    """Fill, scale and order the columns of a table."""

    # Returns `[numbers | indicators of missing ones | levels as zeros and ones |
    # numbers of categories]`, and after them positions and values of sparse columns.
    # shape: Shape of one sample after it.
    # n_numbers: Number of columns of numbers and indicators.

    # What reads wide sparse inputs; all else is then of the columns that it leaves.
    sparse: SparseColumns | None
    numeric: Tensor | None  # Which columns are numbers.
    # (n_numeric,): What stands for missing numbers; None where none may be missing.
    fill: Tensor | None
    flagged: Tensor | None  # Columns of numbers that get an indicator.
    held: Tensor | None

    def __init__(
        self,
        scaler: InputStage | None,
        numeric: NDArray[np.int64],
        in_order: bool,
        n_continuous: int,
        fill: Array | None,
        flagged: NDArray[np.int64],
        levels: list[OneHot | OneHotRanges],
        codes: CategoryCodes | None,
        code_columns: NDArray[np.int64],
    ) -> None:
        super().__init__()
        self.sparse = None
        self.scaler = scaler
        self.levels = nn.ModuleList(levels)
        self.codes = codes
        self.n_continuous = n_continuous
        self.n_numbers = len(numeric) + len(flagged)
        n_levels = sum(len(level.levels) for level in levels)
        n_codes = 0 if codes is None else len(codes.sizes)
        self.shape = (self.n_numbers + n_levels + n_codes,)
        self.needs_float64 = scaler is not None and scaler.needs_float64
        self.register_buffer("numeric", None if in_order else torch.from_numpy(numeric))
        self.register_buffer("flagged", _make_index(flagged))
        self.register_buffer("held", _make_index(code_columns))
        # Numbers are filled once they are scaled.
        filled = None if fill is None else torch.from_numpy(fill).unsqueeze(0)
        if filled is not None and scaler is not None:
            filled = scaler(filled)
        self.register_buffer("fill", None if filled is None else filled[0])

    @property
    def code_columns(self) -> Tensor | None:
        if self.held is None or self.sparse is None:
            return self.held
        return self.sparse.rest[self.held]

    @property
    def n_sparse(self) -> int:
        return 0 if self.sparse is None else len(self.sparse.columns)

    def pack(self, X: csr_array) -> NDArray[np.floating]:
        return super().pack(X) if self.sparse is None else self.sparse.pack(X)

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features), or packed rows, to (n, *shape), and packed columns."""
        if self.sparse is None:
            return self._table(X)
        X, packed = self.sparse(X)
        Z = self._table(X)
        return torch.cat([Z, packed.to(Z.dtype)], dim=1)

    def _table(self, X: Tensor) -> Tensor:
        Z = X if self.numeric is None else X.index_select(1, self.numeric)
        Z = Z if self.scaler is None else self.scaler(Z)
        parts = [Z]
        if self.fill is not None:
            missing = Z.isnan()
            parts = [torch.where(missing, self.fill, Z)]
            if self.flagged is not None:
                parts.append(missing.index_select(1, self.flagged).to(Z.dtype))
        parts += [level(X).to(Z.dtype) for level in self.levels]
        if self.codes is not None:
            parts.append(self.codes(X).to(Z.dtype))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def fit_table(inputs: TrainingInputs, encoder: TableEncoder) -> TableStage | None:
    """Fit the first stage of a table to the settings of its encoder."""
    sparse = fit_sparse(inputs, encoder.min_frequency)
    if sparse is None:
        return _fit_columns(inputs, encoder)
    stage = _fit_columns(inputs.select_columns(sparse.rest.numpy()), encoder)
    if stage is None:
        columns = np.arange(sparse.n_rest)
        nothing = np.empty(0, dtype=np.int64)
        stage = TableStage(None, columns, True, 0, None, nothing, [], None, nothing)
    stage.sparse = sparse
    return stage


def _fit_columns(inputs: TrainingInputs, encoder: TableEncoder) -> TableStage | None:
    """Fit the first stage of columns that are read dense."""
    if not inputs.shape[0]:
        return None
    kinds = NumberKinds.from_inputs(inputs, encoder.max_levels or 0)
    columns = np.flatnonzero(inputs.categorical)
    numeric = np.flatnonzero(~inputs.categorical)
    if encoder.continuous_first:
        numeric = numeric[np.argsort(~kinds.continuous[numeric], kind="stable")]
    in_order = len(columns) == 0 and (np.diff(numeric) == 1).all()
    scale, impute = encoder.scale, encoder.allow_nan
    hot = np.union1d(kinds.columns, kinds.range_columns)
    if scale is None and not impute and not len(hot) and in_order:
        return None
    survey, codes = Survey.from_inputs(inputs), None
    levels: list[OneHot | OneHotRanges] = []
    if len(kinds.columns):
        levels.append(OneHot(kinds.columns, kinds.levels))
    if len(kinds.range_columns):
        levels.append(OneHotRanges(kinds.range_columns, kinds.ranges))
    if len(columns):
        one_hot, codes = _fit_categories(inputs, survey.counts, encoder)
        levels += [] if one_hot is None else [one_hot]
    scaler = None
    exponents = unusual_exponents(np.where(inputs.categorical, 1, survey.largest))
    if scale is not None and len(numeric):
        scaler = SCALERS[scale](inputs, numeric, exponents)
    return TableStage(
        scaler,
        numeric,
        in_order,
        int(kinds.continuous.sum()),
        _medians(inputs, exponents)[numeric] if impute else None,
        np.flatnonzero(survey.missing[numeric]),
        levels,
        codes,
        np.union1d(columns, hot),
    )


def _fit_categories(
    inputs: TrainingInputs, counts: list[Array], encoder: TableEncoder
) -> tuple[OneHot | None, CategoryCodes | None]:
    """Choose the categories that count, and warn of columns that have none."""
    chosen = FrequentCategories.from_inputs(
        inputs, counts, encoder.categories, encoder.min_frequency
    )
    one_hot, codes = chosen.one_hot(), chosen.codes()
    useless = codes is None or max(codes.sizes) == 1
    if one_hot is None and useless and inputs.categorical.all():
        raise ValueError(
            "X has nothing to learn from: its columns hold categories, none of which "
            f"has {chosen.least.max():g} rows or more. Set the encoder's "
            "'min_frequency' lower, or give columns whose values repeat."
        )
    chosen.warn_of_lost(counts, inputs.names)
    return one_hot, codes


def fit_images(inputs: TrainingInputs) -> Standardization:
    """Fit a scaler of each channel of images to mean 0 and variance 1."""
    scaler, largest = StandardScaler(), np.zeros(inputs.shape[0])
    for X, _ in inputs.chunks():
        largest = np.maximum(largest, largest_numbers(X))
    exponents = unusual_exponents(largest)
    for X, weight in inputs.chunks(exponents):
        pixels = np.moveaxis(X, 1, -1).reshape(-1, X.shape[1])
        each = None if weight is None else weight.repeat(len(pixels) // len(X))
        scaler.partial_fit(pixels, sample_weight=each)
    stage = _make_standardization(scaler, exponents, np.s_[:, None, None])
    stage.shape = inputs.shape
    return stage


def _standard(
    inputs: TrainingInputs, numeric: NDArray[np.int64], exponents: NDArray[np.int64]
) -> Standardization:
    scaler = StandardScaler(with_mean=not issparse(inputs.X))
    with np.errstate(invalid="ignore"):  # of columns without a number
        for X, weight in inputs.chunks(exponents):
            scaler.partial_fit(X, sample_weight=weight)
    return _make_standardization(scaler, exponents, numeric)


def _make_standardization(
    scaler: StandardScaler,
    exponents: NDArray[np.int64],
    index: NDArray[np.int64] | tuple[slice, None, None],
) -> Standardization:
    """Return what StandardScaler has learned, of some columns or for all pixels."""
    # A rounding error below zero is no variance.
    varies = scaler.scale_ == np.sqrt(np.maximum(scaler.var_, 0))
    return _affine(
        scaler.mean_[index], scaler.scale_[index], varies[index], exponents[index]
    )


def _robust(
    inputs: TrainingInputs, numeric: NDArray[np.int64], exponents: NDArray[np.int64]
) -> Standardization:
    blocks = list(inputs.blocks(numeric, exponents[numeric]))
    quartiles = [np.nanquantile(block, (0.25, 0.5, 0.75), axis=0) for block in blocks]
    low, center, high = np.concatenate(quartiles, axis=1).astype(np.float64)
    varies = np.concatenate(
        [np.nanmin(block, axis=0) < np.nanmax(block, axis=0) for block in blocks]
    )
    # Not RobustScaler, which takes ranges below 1e-15 for none.
    scale = np.where(high > low, high - low, 1.0)
    return _affine(center, scale, varies, exponents[numeric])


def _quantile(
    inputs: TrainingInputs, numeric: NDArray[np.int64], exponents: NDArray[np.int64]
) -> QuantileToNormal:
    blocks = [
        QuantileTransformer(n_quantiles=min(1000, len(block)), subsample=None)
        .fit(block)
        .quantiles_.T
        for block in inputs.blocks(numeric, exponents[numeric])
    ]
    usual, unusual = _split_columns(exponents[numeric])
    return QuantileToNormal(np.ldexp(np.concatenate(blocks), usual[:, None]), unusual)


SCALERS = {"quantile": _quantile, "robust": _robust, "standard": _standard}


def _medians(inputs: TrainingInputs, exponents: NDArray[np.int64]) -> Array:
    medians = np.zeros(inputs.shape[0])  # of what is zero in more than half of the rows
    columns = np.flatnonzero((inputs.nonzero_share >= 0.5) & ~inputs.categorical)
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    exponents = exponents[columns]
    blocks = inputs.blocks(columns, exponents)
    found = [imputer.fit(block).statistics_ for block in blocks]
    medians[columns] = np.ldexp(np.concatenate([np.empty(0), *found]), exponents)
    return medians


def _affine(
    center: Array,
    scale: Array,
    varies: NDArray[np.bool_],
    exponents: NDArray[np.int64],
) -> Standardization:
    usual, unusual = _split_columns(exponents)
    center = np.ldexp(np.nan_to_num(center, nan=0.0), usual)  # NaN of empty columns
    scale = np.ldexp(scale, usual)
    # How far a constant lies from zero tells more of its scale than nothing does.
    scale = np.where(varies, scale, np.maximum(1, np.abs(center)))
    return Standardization(center, np.where(scale > SMALL, scale, 1.0), unusual)


def _split_columns(
    exponents: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return exponents that float32 holds, zero for others, and the other way round."""
    unusual = np.where(np.abs(exponents) > UNUSUAL, exponents, 0)
    return exponents - unusual, unusual


def _offset(center: Array, scale: Array) -> tuple[bool, Array]:
    """Return whether float32 cannot hold the inputs, and what to subtract first."""
    # What is subtracted from columns far from zero is a number that float32 holds, so
    # that the rest of their center stays exact too.
    far = np.abs(center) > FAR * scale
    rounded = center.clip(-LARGE, LARGE).astype(np.float32)
    return bool((far | (scale > LARGE)).any()), np.where(far, rounded, 0.0)


def _make_index(indices: NDArray[np.int64]) -> Tensor | None:
    return torch.from_numpy(indices) if len(indices) else None
