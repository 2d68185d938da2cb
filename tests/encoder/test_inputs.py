"""Raw tables: scales, missing inputs and columns of categories."""

import copy
import inspect
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils import get_tags
from torch import nn
from torch.func import functional_call, stack_module_state

from skmtl import MultiTaskClassifier, MultiTaskRegressor, load, save
from skmtl.datasets import open_table
from skmtl.encoder import ENCODER, MLP, Encoder, EncoderModule, TrainingInputs
from skmtl.encoder import _inputs as module
from tests._networks import plain_mlp

SETTINGS = {
    "learning_rate_init": 1e-2,
    "max_iter": 30,
    "random_state": 0,
    "n_estimators": 1,
    "early_stopping": False,
}
SCALES = ["standard", "robust", "quantile"]
scales = pytest.mark.parametrize("scale", SCALES)


def raw(n=200, seed=0):
    """Return inputs whose columns differ in size and position, and two targets."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 4))
    X = Z * [1e-6, 1.0, 3e4, 50.0] + [0.0, -7.0, 1e5, 4e3]
    Y = np.column_stack([Z[:, 0] + Z[:, 1], Z[:, 2] - Z[:, 3]])
    return X, Y


def stage_of(
    X, scale="standard", missing_inputs=None, rows=None, weight=None, k=(), **settings
):
    """Return the first stage that an encoder learns."""
    rows = np.arange(X.shape[0]) if rows is None else rows
    settings = {"numeric_embedding": None} | settings
    encoder = MLP(scale=scale, missing_inputs=missing_inputs, **settings)
    return encoder.prepare(TrainingInputs(X, rows, weight, k)).input_stage()


def through(stage, X):
    return stage(torch.from_numpy(np.array(X))).numpy()


def fitted(X, Y, cls=MultiTaskRegressor, **kwargs):
    names = set(inspect.signature(MLP).parameters) & set(kwargs)
    encoder = plain_mlp((16,), **{name: kwargs.pop(name) for name in names})
    weight = kwargs.pop("sample_weight", None)
    est = cls(encoder=encoder, **SETTINGS | kwargs)
    return est.fit(X, Y, sample_weight=weight)


# ------------------------------------------------------------------------ scales


@pytest.mark.parametrize(
    ("scale", "scaler"),
    [
        ("standard", StandardScaler()),
        ("robust", RobustScaler()),
        (
            "quantile",
            QuantileTransformer(n_quantiles=200, output_distribution="normal"),
        ),
    ],
)
def test_scales_are_scikit_learn_s_within_bounds(scale, scaler):
    X, _ = raw()
    X[:, 0] *= 1e6  # QuantileTransformer takes what differs by 1e-7 for equal
    X[3] *= 100
    expected = scaler.fit_transform(X).clip(-5, 5)
    assert np.abs(expected).max() == 5
    assert_allclose(through(stage_of(X, scale), X), expected, rtol=1e-9, atol=1e-9)
    new, _ = raw(seed=1)
    new[:, 0] *= 1e6
    expected = scaler.transform(new).clip(-5, 5)
    assert_allclose(through(stage_of(X, scale), new), expected, rtol=1e-9, atol=1e-9)


@scales
def test_only_rows_that_train_decide(scale):
    X, _ = raw()
    rows = np.arange(0, 200, 3)
    other = np.where(np.isin(np.arange(200), rows)[:, None], X, 1e9)
    stage = stage_of(other, scale, rows=rows)
    assert_array_equal(through(stage, X), through(stage_of(X[rows], scale), X))


@scales
def test_held_out_and_unlabelled_rows_do_not_count(scale):
    X, Y = raw(600)
    Y[::4] = np.nan
    est = fitted(X, Y, scale=scale, early_stopping=True, max_iter=2)
    kept = est.net_.module__encoder.stage_
    whole = stage_of(X[~np.isnan(Y[:, 0])], scale)
    assert not np.allclose(through(kept, X), through(whole, X), rtol=1e-12)
    X[::4] = 1e9
    again = fitted(X, Y, scale=scale, early_stopping=True, max_iter=2)
    assert_array_equal(again.predict(raw()[0]), est.predict(raw()[0]))


@scales
@pytest.mark.parametrize("missing_inputs", [None, "impute"])
def test_weights_are_repeated_rows(scale, missing_inputs):
    X, Y = raw(60)
    if missing_inputs:
        X[::7, 1] = np.nan
    weight = np.random.default_rng(0).integers(0, 4, size=60)
    settings = {"scale": scale, "missing_inputs": missing_inputs, "batch_size": 300}
    weighted = fitted(X, Y, sample_weight=weight, **settings)
    repeated = fitted(X.repeat(weight, axis=0), Y.repeat(weight, axis=0), **settings)
    new = raw(seed=1)[0]
    assert_allclose(weighted.predict(new), repeated.predict(new), rtol=1e-7, atol=1e-9)


def test_the_heaviest_label_of_a_row_weighs_it():
    X, Y = raw(60)
    weight = np.random.default_rng(0).uniform(size=Y.shape)
    Y[::5, 0] = np.nan
    expected = np.where(np.isnan(Y), 0, weight).max(axis=1)
    scaler = StandardScaler().fit(X, sample_weight=expected)
    est = fitted(X, Y, sample_weight=weight)
    found = est.module_.inputs(torch.from_numpy(X)).numpy()
    assert_allclose(found, scaler.transform(X), rtol=1e-9)


def test_rows_without_class_weight_do_not_count():
    X, Y = raw(60)
    Y = (Y[:, :1] > 0).astype(int)
    X[Y[:, 0] == 1] += 1e6
    est = fitted(X, Y, MultiTaskClassifier, class_weight={0: 1.0, 1: 0.0}, max_iter=1)
    found = est.module_.inputs(torch.from_numpy(X[Y[:, 0] == 0]))
    assert_allclose(found.mean(dim=0), 0, atol=1e-9)


@scales
def test_many_rows_are_sampled_by_their_weights(scale, monkeypatch):
    X, _ = raw(5_000)
    weight = np.random.default_rng(0).uniform(size=5_000) * (X[:, 1] > -7)
    rows = np.flatnonzero(weight)
    monkeypatch.setattr(module, "SAMPLE", 1_000)
    stage = stage_of(X, scale, rows=rows, weight=weight[rows])
    found = through(stage, X[rows])
    center = np.average(found, axis=0, weights=weight[rows])
    if scale != "robust":  # whose center of a skewed column is not the mean
        assert_allclose(center, 0, atol=0.1)
    assert_allclose(np.median(found[:, 2]), 0, atol=0.1)
    sample = TrainingInputs(X, rows, weight[rows]).sample()
    assert sample.shape == (1_000, 4)
    assert (sample[:, 1] > -7).all()
    assert np.isin(sample[:, 0], X[rows, 0]).all()


def test_a_period_of_the_rows_is_no_period_of_the_sample(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 1_000)
    hours = np.tile(np.arange(24.0), 1_000)[:, None]
    sample = TrainingInputs(hours, np.arange(24_000)).sample()
    assert np.unique(sample).size == 24
    assert abs(sample.mean() - 11.5) < 0.7


@scales
@pytest.mark.parametrize("value", [0.0, 0.1, -7e5, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.sampled(5)
def test_constant_columns_stay_small(scale, value, dtype):
    X, _ = raw(101)
    X[:, 1] = value
    X = X.astype(dtype)
    stage = stage_of(X, scale).to(torch.float32)
    X = torch.from_numpy(X)
    found = stage(X.double() if stage.needs_float64 else X.float()).numpy()
    assert np.isfinite(found).all()
    assert np.abs(found[:, 1]).max() < 0.1


@scales
def test_no_number_that_float64_holds_breaks_a_scale(scale):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 5)) * [1e-300, 1e-40, 1, 1e40, 1e300]
    Y = X[:, 2:4] / [1, 1e40]
    for precision in ("float32", "float64"):
        est = fitted(X, Y, scale=scale, precision=precision)
        assert np.isfinite(est.predict(X)).all()


HUGE_AND_TINY = [1e-310, 1e-200, 1e-40, 1e-20, 1e40, 1e160, 1e300]


@scales
@pytest.mark.parametrize("form", ["dense", "sparse", "streamed", "missing"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.sampled(5)
def test_huge_and_tiny_numbers_are_scaled_as_others_are(scale, form, dtype):
    X = np.random.default_rng(0).normal(size=(60, len(HUGE_AND_TINY)))
    missing_inputs = None
    if form == "missing":
        X[::7] = np.nan
        missing_inputs = "impute"
    huge = X * HUGE_AND_TINY
    expected = through(stage_of(X, scale, missing_inputs), X)
    make = {
        "sparse": sparse.csr_array,
        "streamed": lambda X: open_table(pa.table(list(X.T), list("abcdefg")))[0],
    }.get(form, np.asarray)
    stage = stage_of(make(huge), scale, missing_inputs).to(dtype)
    found = through(stage, huge)
    assert stage.needs_float64
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@scales
def test_huge_and_tiny_numbers_are_learned(scale):
    X = np.random.default_rng(0).normal(size=(200, 4))
    Y = (X[:, :2] + X[:, 2:] > 0).astype(int)
    X = X * [1e-310, 1e-45, 1e45, 1e300]
    est = fitted(X, Y, MultiTaskClassifier, scale=scale, precision="float32")
    assert est.score(X, Y) > 0.8


@pytest.mark.parametrize("factor", HUGE_AND_TINY)
def test_huge_and_tiny_targets_are_learned(factor):
    X, Y = raw()
    est = fitted(X, Y * factor)
    assert_allclose(est.score(X, Y * factor), fitted(X, Y).score(X, Y), rtol=1e-6)


def test_a_range_of_few_quartiles_is_one_in_any_unit():
    X = np.random.default_rng(0).normal(size=(60, 1)) ** 9
    expected = through(stage_of(X, "robust"), X)
    X = X * 1e-18
    assert_allclose(through(stage_of(X, "robust"), X), expected, rtol=1e-9)


@scales
def test_columns_far_from_zero_keep_their_digits_in_float32(scale):
    X, Y = raw()
    moved = np.array([0, 2e9, 0, 0])
    near = fitted(X, Y, scale=scale, precision="float32")
    far = fitted(X + moved, Y, scale=scale, precision="float32")
    assert next(far.module_.parameters()).dtype == torch.float32
    new = raw(seed=1)[0]
    expected = near.predict(new)
    assert_allclose(far.predict(new + moved), expected, rtol=1e-3, atol=1e-3)


@scales
def test_a_raw_table_needs_no_scaler(scale):
    X, Y = raw()
    new, expected = raw(seed=1)
    assert fitted(X, Y, scale=scale, max_iter=100).score(new, expected) > 0.9
    assert fitted(X, Y, scale=None, max_iter=100).score(new, expected) < 0.5


@scales
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("precision", ["auto", "float64"])
def test_one_row_is_predicted_as_in_the_table(scale, dtype, precision):
    X, Y = raw()
    est = fitted(X.astype(dtype), Y, scale=scale, precision=precision)
    whole = est.predict(X.astype(dtype))
    for i in (0, 7):
        one = est.predict(X.astype(dtype)[i : i + 1])
        assert_allclose(one, whole[i : i + 1], rtol=1e-7, atol=1e-10)


@scales
@pytest.mark.parametrize("missing_inputs", [None, "impute"])
@pytest.mark.sampled(2)
def test_a_sparse_table_is_scaled_as_a_dense_one(scale, missing_inputs, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 6)) * (rng.uniform(size=(150, 6)) < 0.3)
    X[:, 5] = 0
    Y = X[:, :2] - X[:, 2:4]
    if missing_inputs:
        X[::5, 1] = np.nan
    weight = rng.uniform(size=150)
    settings = {"scale": scale, "missing_inputs": missing_inputs}
    for w in (None, weight):
        dense = fitted(X, Y, sample_weight=w, **settings)
        found = fitted(sparse.csr_array(X), Y, sample_weight=w, **settings)
        assert_allclose(found.predict(X), dense.predict(X), rtol=1e-6, atol=1e-9)


@scales
def test_a_sparse_table_is_never_dense_as_a_whole(scale, monkeypatch):
    X = sparse.csr_array(sparse.random(1_000, 500, density=2e-3, random_state=0))
    biggest = []
    real = sparse.csr_array.toarray, sparse.csc_array.toarray

    def toarray(self, *args, real, **kwargs):
        biggest.append(np.prod(self.shape))
        return real(self, *args, **kwargs)

    for cls, method in zip((sparse.csr_array, sparse.csc_array), real, strict=True):
        monkeypatch.setattr(
            cls,
            "toarray",
            lambda self, *a, r=method, **k: toarray(self, *a, real=r, **k),
        )
    monkeypatch.setattr(module, "CHUNK", 10_000)
    found = stage_of(X, scale, "impute")
    assert max(biggest, default=0) <= 10_000
    monkeypatch.undo()
    whole = stage_of(X.toarray(), scale, "impute")
    assert_allclose(
        through(found, X[:50].toarray()), through(whole, X[:50].toarray()), atol=1e-9
    )


@scales
def test_a_memory_map_is_read_by_chunks(scale, tmp_path, monkeypatch):
    X, Y = raw(600)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(
        fitted(mapped, Y, scale=scale, max_iter=3).predict(mapped),
        fitted(X, Y, scale=scale, max_iter=3).predict(X),
    )
    monkeypatch.setattr(module, "CHUNK", 100)
    read = [len(part) for part, _ in TrainingInputs(mapped, np.arange(600)).chunks()]
    assert read == [25] * 24
    assert_allclose(
        through(stage_of(mapped, scale), X), through(stage_of(X, scale), X), rtol=1e-9
    )


def test_without_scale_nothing_is_added():
    X, Y = raw()
    est = fitted(X, Y, scale=None, missing_inputs=None, max_iter=1)
    assert est.module_.inputs is None
    assert stage_of(X, None) is None


def test_the_scale_of_the_first_fit_is_kept():
    X, Y = raw()
    est = MultiTaskRegressor(encoder=plain_mlp((8,)), **SETTINGS)
    est.partial_fit(X, Y)
    before = through(est.module_.inputs, X)
    est.partial_fit(X + 5, Y)
    assert_array_equal(through(est.module_.inputs, X), before)
    est.set_params(warm_start=True).fit(2 * X, Y)
    assert_array_equal(through(est.module_.inputs, X), before)
    est.set_params(warm_start=False).fit(2 * X, Y)
    assert not np.allclose(through(est.module_.inputs, X), before)


def test_fit_leaves_the_spec_as_it_was():
    X, Y = raw()
    encoder = plain_mlp((8,), scale="robust")
    before = repr(encoder), vars(encoder).copy()
    est = MultiTaskRegressor(encoder=encoder, **SETTINGS).fit(X, Y)
    assert (repr(encoder), vars(encoder)) == before
    assert repr(est.net_.module__encoder) == repr(encoder)
    assert clone(est.net_.module__encoder).stage_ is None


@scales
def test_the_stage_survives_copies(scale):
    X, Y = raw()
    est = fitted(X, Y, scale=scale)
    for twin in (copy.deepcopy(est), pickle.loads(pickle.dumps(est))):
        assert_array_equal(twin.predict(X), est.predict(X))
    outputs = est.module_(torch.from_numpy(X)).detach().numpy()
    expected = outputs * Y.std(axis=0) + Y.mean(axis=0)
    assert_allclose(est.predict(X), expected, rtol=1e-6, atol=1e-9)
    names = [name for name, _ in est.module_.named_buffers() if "inputs." in name]
    assert names  # so that it moves to devices with the module


@scales
@pytest.mark.parametrize("missing_inputs", [None, "impute"])
@pytest.mark.parametrize("categories", [False, True])
def test_stacked_stages_do_what_separate_ones_do(scale, missing_inputs, categories):
    tables = [raw(50, seed)[0] for seed in range(3)]
    k = ()
    for X in tables:
        if categories:
            X[:, 2] = np.arange(50) % 4
            k = (0, 0, 3, 0)
        if missing_inputs:
            X[0, 1] = np.nan
    stages = [stage_of(X, scale, missing_inputs, k=k) for X in tables]
    X = torch.from_numpy(np.stack(tables))
    expected = torch.stack([stage(x) for stage, x in zip(stages, X, strict=True)])
    parameters, buffers = stack_module_state(stages)

    def one(p, b, x):
        return functional_call(stages[0], (p, b), (x,))

    found = torch.vmap(one)(parameters, buffers, X)
    torch.testing.assert_close(found, expected)
    same = torch.vmap(one, in_dims=(0, 0, None))(parameters, buffers, X[0])
    torch.testing.assert_close(same, torch.stack([stage(X[0]) for stage in stages]))


class Counts(Encoder):
    """A user's encoder that learns from the training inputs."""

    input_ndim = 2

    def prepare(self, inputs):
        spec = clone(self)
        spec.n_rows_ = sum(len(X) for X, _ in inputs.chunks())
        return spec

    def build(self, input_shape, n_copies=1):
        return _Counts(input_shape[0], n_copies, self.n_rows_)


class _Counts(EncoderModule):
    def __init__(self, width, n_copies, n_rows):
        super().__init__()
        self.n_copies, self.width, self.n_rows = n_copies, width, n_rows
        self.scale = nn.Parameter(torch.ones(n_copies, 1, width))

    def forward(self, X):
        return X * self.scale


def test_a_user_s_encoder_may_learn_from_the_training_inputs():
    X, Y = raw(100)
    Y[:10] = np.nan
    est = MultiTaskRegressor(encoder=Counts(), max_iter=1, n_estimators=1).fit(
        X / 1e5, Y
    )
    assert est.module_.sharing.encoder.n_rows == 90
    assert est.module_.inputs is None


# ----------------------------------------------------------------- missing inputs


@scales
def test_missing_numbers_are_medians_with_an_indicator(scale):
    X, _ = raw()
    X[::7, 1] = np.nan
    X[::5, 3] = np.nan
    imputer = SimpleImputer(strategy="median", add_indicator=True).fit(X)
    stage = stage_of(X, scale, "impute")
    found, expected = through(stage, X), imputer.transform(X)
    assert stage.shape == (6,)
    assert_array_equal(found[:, 4:], expected[:, 4:])
    filled = through(stage, expected[:, :4])
    assert_allclose(found[:, :4], filled[:, :4], rtol=1e-9)
    assert not filled[:, 4:].any()


def test_a_number_missing_only_later_is_imputed_too():
    X, Y = raw()
    X[::7, 1] = np.nan
    est = fitted(X, Y, missing_inputs="impute")
    medians = np.nanmedian(X, axis=0)
    new = raw(seed=1)[0]
    new[0] = np.nan
    row = np.where(np.arange(4) == 1, np.nan, medians)
    assert_allclose(est.predict(new)[0], est.predict(row[None])[0], rtol=1e-7)


@scales
def test_a_column_without_any_number_is_no_error(scale):
    X, Y = raw()
    X[:, 1] = np.nan
    est = fitted(X, Y, scale=scale, missing_inputs="impute")
    assert np.isfinite(est.predict(X)).all()
    assert np.isfinite(est.predict(raw(seed=1)[0])).all()


def test_missing_inputs_work_without_a_scale():
    X, _ = raw()
    X[::7, 1] = np.nan
    imputer = SimpleImputer(strategy="median", add_indicator=True)
    found = through(stage_of(X, None, "impute"), X)
    assert_allclose(found, imputer.fit_transform(X))


def test_infinite_inputs_are_errors_and_missing_ones_where_nothing_imputes():
    X, Y = raw()
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted(X, Y, missing_inputs=None)
    est = fitted(X, Y)
    X[1, 0] = np.inf
    with pytest.raises(ValueError, match="Input X contains infinity"):
        est.predict(X)
    with pytest.raises(ValueError, match="Input X contains infinity"):
        fitted(X, Y)


class Strict(MLP):
    def __init__(self, missing_inputs=None):
        super().__init__(missing_inputs=missing_inputs)


def test_the_tag_tells_whether_inputs_may_be_missing(monkeypatch):
    monkeypatch.setitem(ENCODER, "strict", Strict)
    for encoder in ("mlp", MLP(), "periodic_embedding"):
        est = MultiTaskClassifier(encoder=encoder, n_estimators=1)
        assert get_tags(est).input_tags.allow_nan
    strict = [MLP(missing_inputs=None), "strict"]
    for encoder in (*strict, "cnn", nn.Linear, MLP, "unknown", None):
        assert not get_tags(
            MultiTaskClassifier(encoder=encoder, n_estimators=1)
        ).input_tags.allow_nan
    X, Y = raw()
    X[::9] = np.nan
    est = fitted(X, Y, missing_inputs="impute")
    assert get_tags(est.task_estimator(0)).input_tags.allow_nan
    assert est.task_estimator(0).predict(X).shape == (200,)


# --------------------------------------------------------------------- categories


def frame(n=200, seed=0, library="pandas"):
    """Return a table with numbers and categories that decide two tasks."""
    rng = np.random.default_rng(seed)
    color, size = rng.choice(list("rgb"), n), rng.choice(["s", "m", "l", "xl"], n)
    number = 100 + 10 * rng.normal(size=n)
    Y = np.column_stack([color == "g", (size == "m") ^ (number > 100)]).astype(int)
    columns = {"color": color, "number": number, "size": size}
    if library == "polars":
        types = {"color": pl.Categorical, "size": pl.Enum(["s", "m", "l", "xl"])}
        return pl.DataFrame(columns).cast(types), Y
    return pd.DataFrame(columns).astype({"color": "category", "size": "category"}), Y


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("sharing", ["hard", "independent"])
@pytest.mark.sampled(3)
def test_categories_are_learned(library, sharing):
    X, Y = frame(library=library)
    new, expected = frame(seed=1, library=library)
    est = fitted(X, Y, MultiTaskClassifier, sharing=sharing, max_iter=100)
    assert est.score(new, expected) > 0.9
    assert est.feature_names_in_.tolist() == ["color", "number", "size"]
    assert est.n_features_in_ == 3
    one = est.predict_proba(new[:1])[0]
    assert_allclose(one, est.predict_proba(new)[0][:1], rtol=1e-6)
    assert_array_equal(pickle.loads(pickle.dumps(est)).predict(new), est.predict(new))
    assert_array_equal(est.task_estimator(1).predict(new), est.predict(new)[:, 1])


def test_all_copies_embed_by_one_tensor():
    X, Y = frame()
    settings = {"categories": "embed", "embedding_dim": 5}
    est = fitted(X, Y, MultiTaskClassifier, sharing="independent", **settings)
    shapes = [p.shape for n, p in est.module_.named_parameters() if "categories" in n]
    assert shapes == [(2, 1 + 3 + 1 + 4, 5)]
    stage = est.module_.inputs
    codes = est._categories.transform(X)
    found = through(stage, codes.to_numpy())
    assert_allclose(found[:, 0], StandardScaler().fit_transform(X[["number"]])[:, 0])
    labels = pd.DataFrame({"color": ["b", "g", "r"], "size": ["l", "m", "s"]})
    assert_array_equal(found[:, 1], 1 + labels["color"].searchsorted(X["color"]))
    assert set(found[X["size"] == "xl", 2]) == {4 + 4}
    H = est.module_.sharing.columns.layers[0][0](torch.from_numpy(found))
    weight = est.module_.get_parameter(
        next(n for n, _ in est.module_.named_parameters() if "categories" in n)
    )
    for copy_ in range(2):
        expected = torch.cat(
            [
                torch.from_numpy(found[:, :1]),
                weight[copy_][found[:, 1].astype(int)],
                weight[copy_][found[:, 2].astype(int)],
            ],
            dim=1,
        )
        torch.testing.assert_close(H[copy_], expected)


def test_an_unknown_category_adds_nothing():
    X, Y = frame()
    est = fitted(X, Y, MultiTaskClassifier, categories="embed")
    new, _ = frame(seed=1)
    new["color"] = new["color"].astype(str).replace("r", "violet").astype("category")
    stem = est.module_.sharing.encoder.layers[0][0]
    codes = est._categories.transform(new).to_numpy()
    unknown = (new["color"] == "violet").to_numpy()
    assert_array_equal(codes[:, 0] == 0, unknown)
    H = stem(est.module_.inputs(torch.from_numpy(codes))).detach()
    dim = stem.categories.weight.shape[2]
    assert (H[:, 1 : 1 + dim] == 0).all(dim=1).numpy().tolist() == unknown.tolist()
    assert est.predict(new).shape == (200, 2)


def test_only_categories_of_rows_that_train_are_known():
    X, Y = frame()
    weight = (X["color"] != "b").astype(float)
    kept = weight.to_numpy() > 0
    weighted = fitted(X, Y, MultiTaskClassifier, sample_weight=weight)
    dropped = fitted(X[kept], Y[kept], MultiTaskClassifier)
    for found, expected in zip(
        weighted.predict_proba(X), dropped.predict_proba(X), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("categories", ["one_hot", "embed"])
def test_a_missing_category_is_an_error_or_a_category(categories):
    X, Y = frame()
    X.loc[::9, "color"] = None
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted(X, Y, MultiTaskClassifier, missing_inputs=None)
    Y[::9, 0] = 1
    est = fitted(X, Y, MultiTaskClassifier, categories=categories, max_iter=100)
    assert (est.predict(X)[::9, 0] == 1).all()
    known, Y = frame()
    est = fitted(known, Y, MultiTaskClassifier, missing_inputs=None)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        est.predict(X)
    est = fitted(known, Y, MultiTaskClassifier, categories=categories)
    unseen = known.assign(color=pd.Categorical(["?"] * 200))
    assert_array_equal(
        est.predict(unseen)[::9],
        est.predict(X.assign(color=pd.Categorical([None] * 200, ["r"])))[::9],
    )


def test_columns_must_come_in_the_order_of_fit():
    X, Y = frame()
    est = fitted(X, Y, MultiTaskClassifier)
    with pytest.raises(ValueError, match="must be in the same order"):
        est.predict(X[["number", "color", "size"]])
    with pytest.raises(ValueError, match="feature names should match"):
        est.predict(X.rename(columns={"color": "colour"}))
    with pytest.raises(ValueError, match="feature names should match"):
        est.predict(X.drop(columns="size"))
    with pytest.raises(ValueError, match="feature names should match"):
        est.predict(X.drop(columns="color"))


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_labels_are_read_from_any_container():
    X, Y = frame()
    est = fitted(X, Y, MultiTaskClassifier)
    expected = est.predict(X)
    assert_array_equal(est.predict(X.astype({"color": str, "size": object})), expected)
    assert_array_equal(est.predict(X.to_numpy(dtype=object)), expected)
    assert_array_equal(est.predict(X.to_numpy(dtype=object).tolist()), expected)
    reordered = X.assign(color=X["color"].cat.reorder_categories(["r", "b", "g"]))
    assert_array_equal(est.predict(reordered), expected)
    numbers = pd.DataFrame({"a": pd.Categorical([3, 7, 3, 7] * 5), "b": range(20)})
    y = np.tile([0, 1], 10)
    est = fitted(numbers, y, MultiTaskClassifier, max_iter=100)
    assert est.score(numbers, y) == 1
    assert est.score(sparse.csr_array(numbers.to_numpy(dtype=float)), y) == 1


def test_scikit_learn_s_tools_take_categories():
    X, Y = frame()
    est = MultiTaskClassifier(encoder=plain_mlp((16,)), **SETTINGS)
    assert cross_val_score(est, X, Y, cv=2).mean() > 0.6
    search = GridSearchCV(est, {"encoder__min_frequency": [2, 0.1]}, cv=2).fit(X, Y)
    assert search.predict(X).shape == Y.shape
    columns = ColumnTransformer(
        [("one hot", OneHotEncoder(), ["color", "size"])], remainder="passthrough"
    )
    pipe = make_pipeline(columns, clone(est).set_params(max_iter=100))
    assert pipe.fit(X, Y).score(X, Y) > 0.95
    est.set_params(early_stopping=True).fit(X, Y, X_val=X[:50], y_val=Y[:50])
    assert len(est.validation_scores_) == est.n_iter_
    classes = [np.array([0, 1])] * 2
    part = clone(est).partial_fit(X[:100], Y[:100], classes=classes)
    part.partial_fit(frame(seed=2)[0], frame(seed=2)[1])
    assert part.predict_frame(X).shape == Y.shape


def test_a_failed_fit_leaves_the_categories_as_they_were():
    X, Y = frame()
    est = fitted(X, Y, MultiTaskClassifier)
    expected = est.predict(X)
    with pytest.raises(ValueError, match="Found input variables"):
        est.fit(X.assign(color=X["size"]), Y[:10])
    assert_array_equal(est.predict(X), expected)
    est.fit(X[["number"]], Y)
    assert est._categories is None


def test_a_table_of_categories_alone_works():
    X, Y = frame()
    X = X[["color", "size"]]
    for scale in ("standard", None):
        est = fitted(X, Y, MultiTaskClassifier, scale=scale, max_iter=100)
        assert est.score(X, Y) > 0.7
    linear = MultiTaskClassifier(encoder=plain_mlp(()), **SETTINGS | {"max_iter": 100})
    assert linear.fit(X, Y[:, 0]).score(X, Y[:, 0]) > 0.95
    assert len(linear.module_.sharing.encoder.steps()) == 1


@pytest.mark.parametrize("encoder", [nn.Linear, Counts()])
def test_other_encoders_refuse_categories_in_one_sentence(encoder):
    X, Y = frame()
    est = MultiTaskClassifier(encoder=encoder, n_estimators=1)
    message = r"takes no columns of categories. Got \['color', 'size'\]: give numbers"
    with pytest.raises(ValueError, match=message):
        est.fit(X, Y)
    assert not hasattr(est, "n_features_in_")


@pytest.mark.parametrize("n_copies", [1, 3])
@pytest.mark.parametrize("categories", ["one_hot", "embed"])
def test_gates_read_numbers_and_one_hot_categories(n_copies, categories):
    X, _ = frame()
    codes = np.column_stack(
        [X["color"].cat.codes + 1, X["number"], X["size"].cat.codes]
    )
    codes[:, 2] += 1
    codes[0, [0, 2]] = 0  # unknown
    inputs = TrainingInputs(codes, np.arange(1, 200), None, (3, 0, 4))
    encoder = plain_mlp((8,), categories=categories).prepare(inputs)
    stage = encoder.input_stage()
    network = encoder.build(stage.shape, n_copies).double().probe(stage.shape)
    Z = stage(torch.from_numpy(codes))
    found = network.gate_inputs(Z).numpy()
    hot = OneHotEncoder(sparse_output=False).fit_transform(codes[:, [0, 2]])
    if categories == "one_hot":
        hot = hot[:, hot.sum(axis=0) > 1]  # nothing for what is not known
    assert_allclose(found, np.column_stack([Z[:, 0], hot]))
    assert network.gate_inputs(torch.zeros(1, *stage.shape)).shape == found[:1].shape
    assert network.step(0, Z).shape == (n_copies, 200, 8)


# ------------------------------------------------------- columns of other types


def mixed(n=200, seed=0):
    """Return columns of many types with the numbers that they stand for."""
    rng = np.random.default_rng(seed)
    flag, number = rng.uniform(size=n) < 0.5, rng.normal(size=n)
    color = rng.choice(list("rgb"), n)
    gone = np.arange(n) % 9 == 0
    X = pd.DataFrame(
        {
            "flag": flag,
            "perhaps": pd.array(np.where(gone, None, flag), dtype="boolean"),
            "flags": np.where(gone, None, flag),
            "objects": np.where(gone, pd.NA, number.astype(object)),
            "integers": pd.array(np.where(gone, None, np.arange(n)), dtype="Int64"),
            "strings": pd.array(np.where(gone, None, color), dtype="string"),
            "labels": np.where(gone, np.nan, color.astype(object)),
        }
    )
    expected = np.column_stack(
        [
            flag,
            *[np.where(gone, np.nan, flag)] * 2,
            np.where(gone, np.nan, number),
            np.where(gone, np.nan, np.arange(n)),
            *[np.where(gone, np.nan, 1 + np.searchsorted(["b", "g", "r"], color))] * 2,
        ]
    )
    return X, expected, np.column_stack([color == "g", number > 0]).astype(int)


def test_every_column_of_a_table_is_read_as_what_it_holds():
    X, expected, Y = mixed()
    est = fitted(X, Y, MultiTaskClassifier, max_iter=2)
    assert est._categories.names == ["strings", "labels"]
    assert_array_equal(est._check_X(X, est.net_.module__encoder, False), expected)
    assert X["objects"].dtype.kind == "O"  # the table itself stays as it was


@pytest.mark.parametrize("dtype", ["str", "string", "string[pyarrow]", "object"])
def test_a_column_without_values_is_one_of_missing_numbers(dtype):
    frame = pd.DataFrame({"a": np.arange(6.0), "b": pd.Series([None] * 6, dtype=dtype)})
    y = np.arange(6.0)
    est = MultiTaskRegressor(
        encoder=plain_mlp((4,)), max_iter=1, random_state=0, n_estimators=1
    )
    numbers = clone(est).fit(frame[["a"]].assign(b=np.nan), y)
    assert_array_equal(est.fit(frame, y).predict(frame), numbers.predict(frame))


def test_polars_columns_are_read_as_what_they_hold():
    X, expected, Y = mixed()
    X = pl.DataFrame(
        {
            "flag": X["flag"].to_list(),
            "perhaps": [None if pd.isna(v) else v for v in X["perhaps"]],
            "strings": [None if pd.isna(v) else v for v in X["strings"]],
        }
    )
    est = fitted(X, Y, MultiTaskClassifier, max_iter=2)
    found = est._check_X(X, est.net_.module__encoder, False)
    assert_array_equal(found, expected[:, [0, 1, 5]])


@pytest.mark.parametrize(
    ("column", "types"),
    [
        (pd.to_datetime(["2020-01-01"] * 20), "datetime64"),
        (pd.to_timedelta(range(20)), "timedelta64"),
        (pd.period_range("2020", periods=20, freq="D"), "Period"),
        (["a", 1] * 10, "int and str"),
        (pd.Categorical(["a", 1] * 10), "int and str"),
        ([True, "yes"] * 10, "bool and str"),
        ([{}, 1] * 10, "dict and int"),
        (pl.Series([[1, 2]] * 20), "list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_columns_that_cannot_be_read_are_named(column, types):
    library = pl if isinstance(column, pl.Series) else pd
    X = library.DataFrame({"number": range(20), "when": column})
    message = f"Column 'when' of X holds values of type {types}, which are neither"
    with pytest.raises(ValueError, match=message):
        MultiTaskClassifier(n_estimators=1).fit(X, [0, 1] * 10)


def test_a_column_is_named_as_it_is():
    numbers = pd.DataFrame(np.arange(20.0)[:, None])
    est = MultiTaskClassifier(n_estimators=1, max_iter=1).fit(numbers, [0, 1] * 10)
    with pytest.raises(ValueError, match=r"^Column 0 of X holds categories"):
        est.predict(numbers.astype(str))
    with pytest.raises(ValueError, match=r"^Column 0 of X holds values of type"):
        est.fit(numbers.astype("datetime64[s]"), [0, 1] * 10)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_must_stay_what_it_was(library):
    X, Y = frame(library=library)
    est = fitted(X, Y, MultiTaskClassifier, max_iter=1)

    def changed(**columns):
        if library == "polars":
            return X.with_columns(**{k: pl.Series(v) for k, v in columns.items()})
        return X.assign(**columns)

    message = "Column 'number' of X holds categories, but held numbers"
    with pytest.raises(ValueError, match=message):
        est.predict(changed(number=["a", "b"] * 100))
    message = "Column 'color' of X holds numbers, but held categories such as 'b'"
    with pytest.raises(ValueError, match=message):
        est.predict(changed(color=[1.0, 2.0] * 100))
    assert est.predict(changed(color=[None] * 200)).shape == (200, 2)
    numbers = fitted(X[["number"]], Y, MultiTaskClassifier, max_iter=1)
    with pytest.raises(ValueError, match="Column 'number' of X holds categories"):
        numbers.predict(changed(number=["a"] * 200)[["number"]])
    with pytest.raises(ValueError, match="Column 'number' of X holds categories"):
        numbers.partial_fit(changed(number=["a"] * 200)[["number"]], Y)


def test_arrays_of_strings_are_refused_as_scikit_learn_does():
    X, Y = frame()
    with pytest.raises(ValueError, match="could not convert string to float"):
        fitted(X.to_numpy(dtype=object), Y, MultiTaskClassifier)


# ------------------------------------------------------------------------ levels


def coded_table(n=400, seed=0):
    """Return codes of 300 categories, few of them frequent, beside a number."""
    rng = np.random.default_rng(seed)
    codes = np.where(rng.uniform(size=n) < 0.5, rng.integers(1, 5, n), 5.0)
    rare = rng.uniform(size=n) < 0.4
    codes[rare] = rng.integers(6, 301, n)[rare]
    return np.column_stack([rng.normal(size=n), codes])


@pytest.mark.parametrize("categories", ["one_hot", "embed"])
@pytest.mark.parametrize("min_frequency", ["auto", 7, 0.05])
def test_frequent_categories_are_one_hot_as_in_scikit_learn(categories, min_frequency):
    X = coded_table()
    settings = {"categories": categories, "min_frequency": min_frequency}
    stage = stage_of(X, k=(0, 300), **settings)
    least = 2 if min_frequency == "auto" else min_frequency  # 400 / 200
    theirs = OneHotEncoder(
        min_frequency=least, handle_unknown="ignore", sparse_output=False
    ).fit(X[:, 1:])
    kept = np.setdiff1d(theirs.categories_[0], theirs.infrequent_categories_[0])
    new = np.vstack([X, [[0.0, 0.0], [0.0, 300.0]]])  # unknown, rare
    expected = new[:, 1:] == kept
    found = through(stage, new)[:, 1:]
    if categories == "embed":  # 0 for what is unknown or rare
        assert stage.codes.sizes == (1 + len(kept),)
        found = found == np.arange(1, 1 + len(kept))
    assert 5 <= len(kept) < 300
    assert_array_equal(found, expected)


def test_weights_count_for_categories():
    X = coded_table()
    weight = np.random.default_rng(1).integers(1, 4, size=400)
    whole = stage_of(X.repeat(weight, axis=0), k=(0, 300), min_frequency=0.02)
    for factor in (1.0, 0.3):  # those that are no whole numbers have mean one
        weighted = stage_of(X, weight=factor * weight, k=(0, 300), min_frequency=0.02)
        assert_allclose(through(weighted, X), through(whole, X), rtol=1e-9)
    assert stage_of(X, weight=weight / weight.sum(), k=(0, 300)).shape[0] > 5


@pytest.mark.parametrize("categories", ["auto", "embed"])
def test_a_table_of_ids_alone_has_nothing_to_learn_from(categories):
    X = pd.DataFrame({"id": [f"id{i}" for i in range(20)]})
    est = MultiTaskClassifier(
        encoder=MLP(categories=categories), max_iter=1, n_estimators=1
    )
    with pytest.raises(ValueError, match="none of which has 2 rows or more"):
        est.fit(X, [0, 1] * 10)


def purchases(n=1500, n_users=300, seed=0):
    """Return rows of many users, whom two tasks depend on, and a number."""
    rng = np.random.default_rng(0)
    taste = rng.choice([-1, 1], size=(2, n_users))
    rng = np.random.default_rng(seed)
    user, price = rng.integers(0, n_users, n), rng.normal(size=n)
    X = pd.DataFrame({"user": [f"u{i}" for i in user], "price": price})
    Y = np.column_stack([taste[0, user] > 0, taste[1, user] + 0.3 * price > 0])
    return X, Y.astype(int)


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
@pytest.mark.sampled(3)
def test_many_categories_of_few_rows_are_learned(n_estimators, sharing):
    X, Y = purchases()
    settings = {"n_estimators": n_estimators, "sharing": sharing, "max_iter": 8}
    est = fitted(X, Y, MultiTaskClassifier, **settings)
    assert est.module_.inputs.codes is not None
    assert est.score(*purchases(500, seed=1)) > 0.85  # 0.5 without the users
    assert_array_equal(pickle.loads(pickle.dumps(est)).predict(X), est.predict(X))
    unknown = est.predict_proba(X[:1].assign(user="new"))[0]
    assert unknown.max() < est.predict_proba(X[:50])[0].max()


def test_columns_of_more_than_64_categories_are_embedded():
    few, many = np.arange(260) % 64 + 1.0, np.arange(260) % 65 + 1.0
    X = np.column_stack([np.linspace(0, 1, 260), many, few])
    stage = stage_of(X, k=(0, 65, 64))
    assert stage.codes.sizes == (66,)
    found = through(stage, X)
    assert_array_equal(found[:, 1:65], few[:, None] == np.arange(1, 65))
    assert_array_equal(found[:, 65], many)
    assert stage_of(X, k=(0, 65, 64), categories="one_hot").shape == (1 + 65 + 64,)
    assert stage_of(X, k=(0, 65, 64), categories="embed").codes.sizes == (66, 65)


@pytest.mark.parametrize("n_copies", [1, 3])
def test_gates_do_not_read_columns_of_many_categories(n_copies):
    codes = np.column_stack([np.arange(200) % 100, np.arange(200) % 4]) + 1.0
    spec = plain_mlp((8,), categories="embed")
    spec = spec.prepare(TrainingInputs(codes, np.arange(200), None, (100, 4)))
    stage = spec.input_stage()
    network = spec.build(stage.shape, n_copies).double()
    found = network.gate_inputs(stage(torch.from_numpy(codes))).detach().numpy()
    assert_array_equal(found, codes[:, 1:] == np.arange(5))
    alone = plain_mlp((8,)).prepare(
        TrainingInputs(codes[:, :1], np.arange(200), None, (100,))
    )
    network = alone.build((1,), n_copies)
    assert network.gate_inputs(torch.zeros(1, 1)).shape == (1, 101)


def test_embeddings_get_narrower_where_they_are_very_many(monkeypatch):
    codes = np.arange(400)[:, None] % 200 + 1.0
    spec = plain_mlp((8,)).prepare(TrainingInputs(codes, np.arange(400), None, (200,)))
    assert spec.stem(1, 1).categories.weight.shape == (1, 201, 31)
    monkeypatch.setattr("skmtl.encoder._table.MOST_WEIGHTS", 2_000)
    assert spec.stem(1, 1).categories.weight.shape == (1, 201, 9)
    monkeypatch.setattr("skmtl.encoder._table.MOST_WEIGHTS", 200)
    assert spec.stem(1, 1).categories.weight.shape == (1, 201, 2)


def test_weights_of_rows_with_embedded_categories_are_repeated_rows():
    X, Y = purchases(500, 80)
    weight = np.random.default_rng(1).integers(0, 4, size=500)
    settings = {"batch_size": 2000, "max_iter": 3, "early_stopping": False}
    weighted = fitted(X, Y, MultiTaskClassifier, sample_weight=weight, **settings)
    rows = np.arange(500).repeat(weight)
    repeated = fitted(X.iloc[rows], Y[rows], MultiTaskClassifier, **settings)
    assert weighted.module_.inputs.codes.sizes == repeated.module_.inputs.codes.sizes
    for found, expected in zip(
        weighted.predict_proba(X), repeated.predict_proba(X), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("n_rare", "categories", "settings", "message"),
    [
        (200, "auto", {}, "'id' of X is not used: 100% .* fewer than 2 rows"),
        (200, "one_hot", {}, "'id' of X is not used: 100% .* fewer than 2 rows"),
        (200, "embed", {}, "'id' of X is not used: 100% .* fewer than 2 rows"),
        (150, "auto", {}, "'id' of X is hardly used: 75% .* fewer than 2 rows"),
        (0, "auto", {"min_frequency": 80}, "100% of its rows .* fewer than 80 rows"),
        (90, "auto", {}, None),
        (200, "auto", {"min_frequency": 1}, None),
    ],
)
def test_columns_of_rare_categories_get_a_warning(
    n_rare, categories, settings, message
):
    row = np.arange(200)
    labels = np.where(row < n_rare, row + 1000, row % 4)
    X = pd.DataFrame({"x": np.linspace(0, 1, 200), "id": labels.astype(str)})
    est = MultiTaskRegressor(
        encoder=plain_mlp((4,), categories=categories, **settings),
        max_iter=1,
        early_stopping=False,
        n_estimators=1,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(X, X["x"])
    if message is None:
        assert not caught
    else:
        (warning,) = caught
        assert re.search(message, str(warning.message))
        assert warning.filename == __file__


def test_integers_with_few_values_are_levels_too():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [
            rng.normal(size=600),
            rng.integers(-2, 3, 600),  # 5 levels
            rng.integers(0, 2, 600),  # 0/1: nothing but scaled
            rng.integers(0, 17, 600),  # too many
            rng.integers(0, 4, 600) / 2,  # no integers
            rng.integers(0, 5, 600) * (rng.uniform(size=600) < 0.1),  # sparse
            np.where(np.arange(600) < 2, 7, rng.integers(1, 4, 600)),  # 7 is rare
        ]
    ).astype(float)
    X[:50, 1] = np.nan
    stage = stage_of(X, missing_inputs="impute")
    hot = np.column_stack([X[:, [1]] == np.arange(-2, 3), X[:, [6]] == [1, 2, 3]])
    found = through(stage, X)
    assert_array_equal(found[:, 8:], hot)
    assert_array_equal(found[:, 7], np.isnan(X[:, 1]))
    assert stage.code_columns.tolist() == [1, 6]  # which augmentation leaves alone
    assert stage_of(X, missing_inputs="impute", max_levels=17).shape == (8 + 8 + 17,)
    for none in (0, None):
        assert stage_of(X, missing_inputs="impute", max_levels=none).shape == (8,)
    same = stage_of(sparse.csr_array(np.nan_to_num(X)), missing_inputs="impute")
    dense = stage_of(np.nan_to_num(X), missing_inputs="impute")
    assert_allclose(through(same, X[50:]), through(dense, X[50:]), atol=1e-9)


def test_levels_are_learned_where_numbers_have_no_order():
    rng = np.random.default_rng(0)
    X, new = rng.integers(0, 12, (2, 500, 1)).astype(float)
    odd = X[:, 0] % 2, new[:, 0] % 2
    for max_levels, right in ((16, True), (0, False)):
        encoder = plain_mlp((), max_levels=max_levels)
        est = MultiTaskClassifier(encoder=encoder, **SETTINGS).fit(X, odd[0])
        assert (est.score(new, odd[1]) > 0.95) == right


def amounts(n=4_000, seed=0):
    """Return a mostly-zero column beside another: 2 % are 700, 10 % up to 1000."""
    rng = np.random.default_rng(seed)
    kind = rng.uniform(size=n)
    amount = np.where(kind < 0.12, rng.uniform(0, 1000, n).round(), 0.0)
    amount[kind < 0.02] = 700
    return np.column_stack([rng.normal(size=n), amount])


def test_ranges_of_mostly_zero_columns_are_columns_too():
    X = amounts()
    stage = stage_of(X)
    hot = through(stage, X)[:, 2:]
    values = X[:, 1]
    assert 6 < hot.shape[1] <= 16 + 2
    assert stage.code_columns.tolist() == [1]  # which augmentation leaves alone
    assert not hot[values == 0].any()
    assert (hot[values != 0].sum(axis=1) <= 1).all()
    assert (hot[values != 0].sum(axis=1) == 1).mean() > 0.95
    frequent = hot[:, hot[values == 700][0] == 1][:, 0] == 1
    assert set(values[frequent]) == {700}
    assert hot.sum(axis=0).min() >= 25
    for column in hot.T:  # each is a range: no value of another one lies within
        inside = values[column == 1]
        within = (values >= inside.min()) & (values <= inside.max())
        assert_array_equal(column == 1, within)
    same = through(stage_of(sparse.csr_array(X)), X)
    assert_allclose(same, through(stage, X), atol=1e-9)


def test_few_rows_and_many_columns_have_no_ranges():
    X = amounts()
    assert stage_of(X, max_levels=0).shape == (2,)
    assert stage_of(X[:500]).shape == (2,)  # 60 rows are not zero
    wide = np.column_stack([amounts(seed=seed)[:, 1] for seed in range(60)])
    assert stage_of(wide).shape == (60,)  # of more than 500 ranges
    assert stage_of(wide[:, :20]).shape[0] > 150


def test_frequent_amounts_are_learned():
    X, new = amounts(), amounts(seed=1)
    near = np.abs(new[:, 1] - 700) < 100
    found = {}
    for max_levels in (16, 0):
        est = fitted(X, X[:, 1] == 700, MultiTaskClassifier, max_levels=max_levels)
        proba = est.predict_proba(new[near])[:, 1]
        found[max_levels] = roc_auc_score(new[near, 1] == 700, proba)
    assert found[16] > 0.99 > 0.9 > found[0]


def test_ranges_are_kept_by_files(tmp_path):
    X = amounts()
    est = fitted(X, X[:, 1] > 500, MultiTaskClassifier, max_iter=2)
    save(est, tmp_path / "est.safetensors")
    again = load(tmp_path / "est.safetensors")
    assert_array_equal(again.predict_proba(X), est.predict_proba(X))


def test_wide_sparse_tables_are_not_looked_through_densely(monkeypatch):
    X = sparse.csr_array(sparse.random(500, 2_000, density=0.01, random_state=0))

    def toarray(self, *args, **kwargs):
        raise AssertionError

    for cls in (sparse.csr_array, sparse.csc_array):
        monkeypatch.setattr(cls, "toarray", toarray)
    stage = stage_of(X, "standard", "impute")
    assert stage.shape == (0,)
    assert 1_500 < stage.n_sparse < 2_000  # those of three rows


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (MLP(scale="minmax"), "'scale' parameter of MLP must be a str among"),
        (MLP(missing_inputs="drop"), "'missing_inputs' parameter of MLP must be"),
        (MLP(embedding_dim=0), "'embedding_dim' parameter of MLP must be"),
        (
            MLP(categories="one_hot", embedding_dim=3),
            "'embedding_dim' parameter of MLP is for",
        ),
        (MLP(categories="hash"), "'categories' parameter of MLP must be"),
        (MLP(min_frequency=0), "'min_frequency' parameter of MLP must be"),
        (MLP(min_frequency=1.5), "'min_frequency' parameter of MLP must be"),
        (MLP(max_levels=-1), "'max_levels' parameter of MLP must be"),
        (MLP(numeric_embedding="plr"), "'numeric_embedding' parameter of MLP must"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_before_training(bad, message):
    X, Y = raw()
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(encoder=bad, n_estimators=1).fit(X, Y)
