"""ONNX files predict what estimators predict."""

import copy
import itertools
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._estimators.persistence import onnx_export
from skmtl._estimators.persistence.inference_module import InferenceModule
from skmtl._estimators.persistence.onnx_export import _get_steps
from skmtl._estimators.persistence.onnx_quantile import (
    OnnxNormal,
    compute_normal_quantile,
)
from skmtl.encoder import CNN, MLP, PeriodicEmbedding, PiecewiseLinearEmbedding
from skmtl.encoder._preprocessing import QuantileToNormal
from skmtl.exceptions import ModelFileError
from skmtl.relation import RELATION
from skmtl.sharing import SHARING, TaskToken
from tests._estimators.persistence._alike import assert_alike
from tests._estimators.persistence.test_save import SMALL, mixed_tasks, regression
from tests._networks import BatchNormed, Network

# Exporting is the same whatever the versions of other packages.
pytestmark = [
    pytest.mark.one_version,
    pytest.mark.usefixtures("onnx_operators"),
]


def session_of(estimator, tmp_path, pipeline=None):
    skmtl.export_onnx(estimator, tmp_path / "model.onnx", pipeline)
    return onnxruntime.InferenceSession(tmp_path / "model.onnx")


def assert_predicts(session, estimator, X, before=None):
    """Assert that a file predicts what an estimator does, for any number of rows."""
    wanted = X if before is None else before.transform(X)
    proba = getattr(estimator, "predict_proba", lambda X: [None] * estimator.n_tasks_)
    dtype = {"tensor(double)": np.float64, "tensor(float)": np.float32}[
        session.get_inputs()[0].type
    ]
    for n in (1, 2, len(X)):
        found = session.run(None, {"X": np.asarray(X[:n], dtype=dtype)})
        expected = proba(wanted[:n])
        values = np.reshape(estimator.predict(wanted[:n]), (n, -1))
        expected = expected if isinstance(expected, list) else [expected]
        assert len(found) == len(expected)
        for t, (one, other) in enumerate(zip(found, expected, strict=True)):
            other = values[:, t].astype(float) if other is None else other
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# Exporting takes its time for every operator.
PLAIN = MLP((4,), numeric_embedding=None)
SMALLER = {"task_token": TaskToken(token_width=8, n_tokens=2, n_blocks=1)}
ENCODERS = {
    "mlp": MLP((6, 5)),
    "norms": MLP((6,), scale="robust", norm="layer", max_levels=4),
    "batch norm": MLP((6,), norm="batch", residual=False, missing_inputs=None),
    "periodic": PeriodicEmbedding((6,), embedding_dim=2, n_frequencies=3),
    "piecewise": PiecewiseLinearEmbedding((6,), embedding_dim=2, n_bins=4),
    "module": Network,
    "module with statistics": BatchNormed,
    "plain": PLAIN,
}
# Every sharing strategy, first of them every encoder, last of them every relation.
CASES = [
    pytest.param(sharing, relation, encoder, id=f"{sharing}-{relation}-{encoder}")
    for sharing, relation, encoder in zip(
        SHARING,
        [None] * (len(SHARING) - len(RELATION)) + list(RELATION),
        itertools.chain(ENCODERS, itertools.repeat("plain")),
        strict=False,
    )
]


def fit_case(sharing, relation, encoder):
    X, Y = mixed_tasks()
    settings = {
        **SMALL,
        "encoder": ENCODERS[encoder],
        "learning_rate_init": 0.1,
        "n_estimators": 1,
    }
    # First steps of Adam are all of one length, which leaves choices without a winner.
    settings["max_iter"] = 4
    sharing = SMALLER.get(sharing, sharing)
    return MultiTaskEstimator(sharing, relation=relation, **settings).fit(X, Y), X


@pytest.mark.parametrize(("sharing", "relation", "encoder"), CASES)
def test_every_exported_network_predicts_what_its_estimator_does(
    sharing, relation, encoder
):
    est, X = fit_case(sharing, relation, encoder)
    served = InferenceModule(est.net_, est._targets, torch.float32)
    with torch.no_grad():
        found = served(torch.from_numpy(X).to(served.input_dtype))
    for one, proba, values in zip(
        found, est.predict_proba(X), est.predict(X).T, strict=True
    ):
        other = values.astype(float) if proba is None else proba
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_ranges_of_mostly_zero_columns(tmp_path):
    rng = np.random.default_rng(0)
    amount = rng.uniform(0, 1000, 3_000).round() * (rng.uniform(size=3_000) < 0.15)
    X = np.column_stack([rng.normal(size=3_000), amount])
    est = MultiTaskClassifier(encoder=PLAIN, n_estimators=1, max_iter=2, random_state=0)
    est.fit(X, (amount > 300) & (amount < 400))
    assert est.net_.module_.encoded_shape[0] > 8
    assert_predicts(session_of(est, tmp_path), est, X[:50])


@pytest.mark.parametrize(("sharing", "relation", "encoder"), CASES)
@pytest.mark.sampled(7, 6)
def test_every_sharing_relation_and_encoder(sharing, relation, encoder, tmp_path):
    est, X = fit_case(sharing, relation, encoder)
    assert_predicts(session_of(est, tmp_path), est, X)


def test_all_are_among_these_cases():
    for values, registry in zip(
        zip(*(case.values for case in CASES), strict=True),
        (SHARING, RELATION, ENCODERS),
        strict=True,
    ):
        assert set(registry) <= set(values)


@pytest.mark.parametrize("weighting", ["equal", "upgrad"], ids=["stacked", "in turns"])
@pytest.mark.sampled(2)
def test_members_are_averaged_and_calibrated(weighting, tmp_path):
    X, Y = mixed_tasks()
    Y = pd.DataFrame(Y)
    Y.columns = pd.Index(["X", 1, "1"], dtype=object)  # the input is "X", too
    settings = {**SMALL, "n_estimators": 2, "weighting": weighting, "threshold": "f1"}
    settings["encoder"] = PLAIN
    est = MultiTaskEstimator(learning_rate_init=0.1, **settings).fit(X, Y)
    assert est.net_.stacked is (weighting == "equal")
    assert est.net_.slopes is not None
    before = copy.deepcopy(est)
    session = session_of(est, tmp_path)
    assert_predicts(session, est, X)
    assert_alike(est, before)
    tasks = json.loads(session.get_modelmeta().custom_metadata_map["skmtl"])
    names = ["X (task 0)", "1", "1 (task 2)"]
    assert [output.name for output in session.get_outputs()] == names
    assert [task["output"] for task in tasks] == names
    assert [task["kind"] for task in tasks] == est.task_types_
    assert [task["classes"] for task in tasks] == [[-1, 0, 1], None, [0, 1]]
    assert tasks[2]["threshold"] == est.thresholds_[2]


def test_images_in_float32_and_a_task_of_one_class(digits_tasks, tmp_path):
    X, Y = digits_tasks
    X = X[:90].reshape(-1, 1, 8, 8).astype(np.float32)
    Y = np.column_stack([Y[:90], np.ones(90)])
    encoder = CNN((3,), hidden_layer_sizes=(5,), norm="batch")
    settings = {**SMALL, "encoder": encoder, "precision": "float32", "n_estimators": 1}
    est = MultiTaskClassifier(**settings).fit(X, Y)
    session = session_of(est, tmp_path)
    assert session.get_inputs()[0].type == "tensor(float)"
    assert_predicts(session, est, X)


@pytest.mark.parametrize(
    ("scale", "offset", "factor", "dtype"),
    [("standard", 1e9, 1e-200, "double"), ("quantile", 0, 1, "float")],
)
@pytest.mark.sampled(2)
def test_missing_numbers_of_any_size(scale, offset, factor, dtype, tmp_path):
    X, Y = mixed_tasks()
    X[:, 0] *= factor
    X[:, 1] += offset
    X[:, 3] = X[:, 3].round()
    X[::7, 2] = np.nan
    encoder = MLP((4,), scale=scale, numeric_embedding=None)
    settings = {**SMALL, "encoder": encoder, "precision": "float32", "n_estimators": 1}
    est = MultiTaskEstimator(learning_rate_init=0.1, **settings).fit(X, Y)
    session = session_of(est, tmp_path)
    assert session.get_inputs()[0].type == f"tensor({dtype})"
    assert_predicts(session, est, np.vstack([X, 5 * X - 4 * offset]))


def test_quantiles_of_the_normal_distribution():
    p = np.concatenate([np.linspace(1e-7, 1 - 1e-7, 1001), np.logspace(-10, -1)])
    found = compute_normal_quantile(torch.from_numpy(p)).numpy()
    np.testing.assert_allclose(found, norm.ppf(p), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 1000])
def test_the_quantile_stage_is_that_of_training(n):
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.normal(size=(3, n)).round(1), axis=1)
    X = torch.from_numpy(np.vstack([rng.normal(size=(50, 3)).round(1), quantiles.T]))
    X[0] = torch.nan
    stage = QuantileToNormal(quantiles, np.array([0, 0, 600]))
    X[:, 2] *= 2.0**600
    torch.testing.assert_close(OnnxNormal(stage)(X), stage(X), equal_nan=True)


def test_pipelines_of_one_column(tmp_path):
    X, Y = mixed_tasks()
    X, y = 100 * X + 1000, np.nan_to_num(Y[:, 2])
    pipeline = make_pipeline(
        StandardScaler(),
        PCA(3),
        MultiTaskClassifier(precision="float32", **{**SMALL, "encoder": PLAIN}),
    ).fit(X, y)
    est, before = pipeline[-1], pipeline[:-1]
    session = session_of(est, tmp_path, pipeline)
    assert session.get_inputs()[0].shape[1] == 4
    assert session.get_inputs()[0].type == "tensor(double)"
    assert_predicts(session, est, X, before)


def test_transformers_are_those_of_the_pipeline_before_the_estimator():
    X, Y = regression()
    scaler = StandardScaler().fit(X)
    pipeline = make_pipeline(scaler, None, MultiTaskRegressor(**SMALL)).fit(X, Y)
    assert _get_steps(pipeline[-1], pipeline) == _get_steps(pipeline[-1], pipeline[:-1])
    assert (
        _get_steps(pipeline[-1], pipeline)
        == _get_steps(pipeline[-1], scaler)
        == [scaler]
    )
    assert _get_steps(pipeline[-1], None) == []


# ------------------------------------------------------------- columns of categories
def table(**columns):
    """Return a table whose columns of categories stand before and after its numbers."""
    X, Y = mixed_tasks()
    X = pd.DataFrame(X, columns=list("wxyz"))
    X.insert(1, "city", pd.Series(["Rome", "Oslo", None, "Bonn"] * 15, dtype=object))
    return X.assign(**columns), Y


def as_inputs(X, est, dtype=np.float32):
    """Return a table as an ONNX file takes it."""
    categories = est._categories.names
    strings = X[categories].astype(object)
    strings = strings.where(strings.notna(), "").map(str).to_numpy(dtype=object)
    numbers = X.drop(columns=categories).to_numpy(dtype=dtype)
    return (
        {"X": numbers, "categories": strings}
        if numbers.size
        else {"categories": strings}
    )


@pytest.mark.parametrize(
    ("encoder", "sharing", "n_estimators"),
    [
        (MLP((6,), categories="embed"), "mmoe", 1),
        (MLP((6,)), "hard", 3),
        (PeriodicEmbedding((6,), embedding_dim=2), "hard", 1),
    ],
    ids=["gates", "members", "embeddings"],
)
@pytest.mark.sampled(3)
def test_categories(tmp_path, encoder, sharing, n_estimators):
    year = pd.Categorical([1990, 1991, 1992, 1993, None] * 12)
    X, Y = table(year=year, closed=pd.Categorical([True, False, True] * 20))
    X, Y = pd.concat([X] * 3, ignore_index=True), np.vstack([Y] * 3)
    X["user"] = [f"user {i}" for i in np.arange(180) % 70]
    settings = {**SMALL, "encoder": encoder, "n_estimators": n_estimators}
    settings["sharing"] = sharing
    est = MultiTaskEstimator(**settings).fit(X, Y)
    session = session_of(est, tmp_path)
    unseen = X.iloc[:4].copy()
    unseen["city"] = ["Paris", None, "Rome", "rome"]
    unseen["user"] = ["user 3", "user 333", None, "user 0"]
    unseen["year"] = pd.Categorical([2001, 1990, None, 1993])
    unseen.loc[1, "x"] = np.nan
    dtype = {"tensor(double)": np.float64, "tensor(float)": np.float32}[
        session.get_inputs()[0].type
    ]
    for new in (X, unseen, unseen.iloc[:1]):
        found = session.run(None, as_inputs(new, est, dtype))
        values = est.predict_frame(new)
        for t, (one, proba) in enumerate(
            zip(found, est.predict_proba(new), strict=True)
        ):
            other = values.iloc[:, t].to_numpy() if proba is None else proba
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["skmtl_inputs"]) == {
        "X": ["w", "x", "y", "z"],
        "categories": ["city", "year", "closed", "user"],
    }


def test_categories_alone(tmp_path):
    X, Y = table()
    est = MultiTaskEstimator(**{**SMALL, "encoder": PLAIN}).fit(X[["city"]], Y)
    session = session_of(est, tmp_path)
    assert [i.name for i in session.get_inputs()] == ["categories"]
    cities = np.array([["Rome"], ["Oslo"], [""], ["Bonn"], ["Paris"]], dtype=object)
    (found, *_) = session.run(None, {"categories": cities})
    X = pd.DataFrame({"city": ["Rome", "Oslo", None, "Bonn", "Paris"]})
    np.testing.assert_allclose(found, est.predict_proba(X)[0], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------- what is refused
def test_refuses_categories_that_are_no_different_strings(tmp_path, monkeypatch):
    X, Y = table(kind=["", "a"] * 30)
    est = MultiTaskEstimator(**SMALL).fit(X, Y)
    # The network itself, whose export is slow, is not what is refused.
    number = onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["n", 4])
    graph = onnx.helper.make_graph([], "network", [number], [])
    model = onnx.helper.make_model(graph)
    monkeypatch.setattr(onnx_export, "_export_network", lambda *args: model)
    with pytest.raises(ModelFileError, match="categories of column 'kind' apart as"):
        skmtl.export_onnx(est, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_refuses_a_pipeline_before_categories(tmp_path):
    X, Y = table()
    est = MultiTaskEstimator(**SMALL).fit(X, Y)
    with pytest.raises(ModelFileError, match=r"of categories, \['city'\]: leave 'pip"):
        skmtl.export_onnx(est, tmp_path / "model.onnx", StandardScaler())
    assert not list(tmp_path.iterdir())


class Odd(torch.nn.Module):
    """A user's network that ONNX has no operator for."""

    def __init__(self, n_features):
        super().__init__()
        self.linear = torch.nn.Linear(n_features, 5)

    def forward(self, X):
        return torch.special.bessel_j0(self.linear(X))


def test_refuses_what_has_no_operators(tmp_path):
    est = MultiTaskRegressor(**{**SMALL, "encoder": Odd}).fit(*regression())
    with pytest.raises(ModelFileError, match=r"sharing=Hard\(\).* cannot be exported"):
        skmtl.export_onnx(est, tmp_path / "model.onnx")


def test_refuses_steps_that_skl2onnx_does_not_know(tmp_path):
    X, Y = regression()
    step = FunctionTransformer(np.log1p).fit(abs(X))
    est = MultiTaskRegressor(**SMALL).fit(abs(X), Y)
    with pytest.raises(ModelFileError, match="a step that skl2onnx cannot convert"):
        skmtl.export_onnx(est, tmp_path / "model.onnx", step)


def test_refuses_other_estimators_and_unfitted_ones(tmp_path):
    with pytest.raises(ModelFileError, match="Got a Ridge: give what goes before"):
        skmtl.export_onnx(Ridge(), tmp_path / "model.onnx")
    with pytest.raises(NotFittedError):
        skmtl.export_onnx(MultiTaskRegressor(n_estimators=1), tmp_path / "model.onnx")


def test_refuses_the_pipeline_of_another_estimator(tmp_path):
    X, Y = regression()
    pipeline = make_pipeline(StandardScaler(), MultiTaskRegressor(**SMALL)).fit(X, Y)
    est = MultiTaskRegressor(**SMALL).fit(X, Y)
    with pytest.raises(ModelFileError, match="must end in the estimator"):
        skmtl.export_onnx(est, tmp_path / "model.onnx", pipeline)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "skl2onnx"])
def test_says_which_extra_is_missing(package, tmp_path, monkeypatch):
    X, Y = regression()
    est = MultiTaskRegressor(**SMALL).fit(X, Y)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs .*{package}.*skmtl\[onnx\]"):
        skmtl.export_onnx(est, tmp_path / "model.onnx", StandardScaler().fit(X))
