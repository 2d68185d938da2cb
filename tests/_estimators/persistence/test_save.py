"""A model that was saved and loaded is the model that was saved."""

import copy
import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_regression
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from skorch.callbacks import LRScheduler

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import (
    CNN,
    ENCODER,
    MLP,
    ModuleEncoder,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
)
from skmtl.exceptions import ModelFileError
from skmtl.relation import RELATION, Distillation, TaskGraph
from skmtl.sharing import SHARING, Grouped, Hard
from skmtl.training import AUGMENTATION
from skmtl.weighting import WEIGHTING, Static, TargetKL
from tests._estimators.persistence._alike import assert_alike
from tests._networks import BatchNormed, Network, plain_mlp

SMALL = {
    "encoder": plain_mlp((6, 5)),
    "max_iter": 2,
    "random_state": 0,
    "n_estimators": 1,
}


def mixed_tasks(n=60):
    """Return inputs and tasks of three classes, of numbers, and of two classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    Z = X @ rng.normal(size=(4, 3))
    Y = np.column_stack([Z[:, 0].clip(-1, 1).round(), Z[:, 1], Z[:, 2] > 0])
    Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    return X, Y


CLASSES = [[-1, 0, 1], None, [0, 1]]


@pytest.fixture
def again(tmp_path):
    """Return a function that saves an estimator and loads it."""

    def save_and_load(estimator, trusted=()):
        skmtl.save(estimator, tmp_path / "model")
        return skmtl.load(tmp_path / "model", trusted=trusted)

    return save_and_load


def learn_on(estimator, again, X, Y, trusted=()):
    """Assert that an estimator and what was saved of it stay alike in training."""
    twin = again(estimator, trusted)
    assert_alike(twin, estimator)
    for one in (estimator, twin):
        one.partial_fit(X, Y)
    assert_alike(twin, estimator)
    return twin


@pytest.mark.one_version
@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize(
    ("family", "name"),
    [
        (family, name)
        for family, registry in [
            ("sharing", SHARING),
            ("weighting", WEIGHTING),
            ("relation", RELATION),
            ("augmentation", sorted(set(AUGMENTATION) - {"crop", "flip"})),
        ]
        for name in registry
    ],
)
@pytest.mark.sampled(5)
def test_every_strategy(family, name, n_estimators, again):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator(**SMALL | {"n_estimators": n_estimators, family: name})
    learn_on(est.partial_fit(X, Y, CLASSES), again, X, Y)


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize(
    "encoder",
    [
        plain_mlp((6,), scale="quantile"),
        plain_mlp((6,), norm="batch", dropout=0.2),
        plain_mlp((6, 6), activation="tanh", norm="layer", residual=True, scale=None),
        PeriodicEmbedding((6,), embedding_dim=2, n_frequencies=3),
        PiecewiseLinearEmbedding((6,), embedding_dim=2, n_bins=4, scale="robust"),
    ],
    ids=str,
)
def test_every_encoder_of_tables(encoder, n_estimators, again):
    X, Y = mixed_tasks()
    X[0, 0] = np.nan
    settings = {**SMALL, "encoder": encoder, "n_estimators": n_estimators}
    est = MultiTaskEstimator(**settings).partial_fit(X, Y, CLASSES)
    learn_on(est, again, X, Y)


@pytest.mark.parametrize("augmentation", [["crop", "flip"], "mixup"])
def test_images(augmentation, digits_tasks, again):
    X, Y = digits_tasks
    X = X[:60].reshape(-1, 1, 8, 8)
    encoder = CNN((3,), hidden_layer_sizes=(5,), norm="batch")
    settings = {**SMALL, "encoder": encoder, "augmentation": augmentation}
    est = MultiTaskClassifier(**settings)
    est.partial_fit(X, Y[:60], [np.unique(column) for column in Y.T])
    learn_on(est, again, X, Y[:60])


def test_every_encoder_is_among_these_tests():
    tested = {"mlp", "cnn", "periodic_embedding", "piecewise_linear_embedding"}
    assert {cls.name for cls in ENCODER.values()} == tested


# --------------------------------------------------------------- what an estimator has
@pytest.mark.parametrize("weighting", ["equal", "upgrad"], ids=["stacked", "in turns"])
@pytest.mark.parametrize("resampling", ["crossfit", "bootstrap"])
def test_out_of_fold_predictions_slopes_and_thresholds(weighting, resampling, again):
    X, Y = mixed_tasks()
    settings = {"resampling": resampling, "weighting": weighting, "threshold": "f1"}
    est = MultiTaskEstimator(**SMALL | settings | {"n_estimators": 3}).fit(X, Y)
    assert est.net_.slopes is not None
    twin = again(est)
    assert_alike(twin, est)
    assert twin.oof_score_ == est.oof_score_
    assert_alike(twin.predict_interval(X), est.predict_interval(X))
    assert_alike(twin.predict_set(X), est.predict_set(X))
    assert twin.score(X, Y) == est.score(X, Y)
    assert_alike(
        twin.task_estimator("task0").predict_proba(X),
        est.task_estimator("task0").predict_proba(X),
    )
    for one in (est, twin):
        one.set_params(warm_start=True, max_iter=1).fit(X, Y)
    assert_alike(twin, est)


def test_relation_groups_and_history(again):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator("auto_grouped", relation="graph", **SMALL).fit(X, Y)
    twin = again(est)
    assert_alike(twin.relation_, est.relation_)
    assert twin.groups_ == est.groups_
    assert_alike(list(twin.history_), list(est.history_))


def test_huge_and_tiny_numbers(again):
    X, Y = regression()
    X = X * [1e-310, 1e-200, 1e60, 1e300]
    learn_on(MultiTaskRegressor(**SMALL).fit(X, Y), again, X, Y)


def test_one_column(again):
    X, Y = mixed_tasks()
    for est in (MultiTaskClassifier(**SMALL), MultiTaskRegressor(**SMALL)):
        est.fit(X, np.nan_to_num(Y[:, 2]))
        assert_alike(again(est), est)


def test_a_task_without_anything_to_learn(again):
    X, _ = mixed_tasks()
    est = MultiTaskClassifier(**SMALL).fit(X, np.ones((60, 2)))
    assert_alike(again(est).predict(X), est.predict(X))


LABELS = {
    "integers": np.array([3, 7]),
    "small integers": np.array([3, 7], dtype=np.uint16),
    "booleans": np.array([False, True]),
    "strings": np.array(["no", "yes, ähem"]),
    "strings as objects": np.array(["no", "yes"], dtype=object),
    "bytes": np.array([b"no", b"yes"]),
    "days": np.array(["2026-01-05", "2026-02-01"], dtype="datetime64[D]"),
    "durations": np.array([3, 70], dtype="timedelta64[s]"),
    "dates": np.array([dt.date(2026, 1, 5), dt.date(2026, 2, 1)], dtype=object),
    "decimals": np.array([Decimal("1.5"), Decimal("2.25")], dtype=object),
    "times of day": np.array([dt.time(1, 30), dt.time(2, 45)], dtype=object),
    "durations of Python": np.array([dt.timedelta(1), dt.timedelta(2)], dtype=object),
    "moments": np.array(
        [
            dt.datetime(2026, 1, 5, tzinfo=dt.UTC),
            dt.datetime(2026, 2, 1, tzinfo=dt.UTC),
        ],
        dtype=object,
    ),
    "stamps": np.array(
        [pd.Timestamp("2026-01-05", tz="Europe/Paris"), pd.Timestamp("2027", tz="UTC")],
        dtype=object,
    ),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_any_type(labels, again):
    X, Y = mixed_tasks()
    y = labels[(Y[:, 2] > 0).astype(int)]
    est = MultiTaskClassifier(**SMALL).fit(X, y)
    twin = again(est)
    assert_alike(twin, est)
    assert_alike(twin.predict(X), est.predict(X))


@pytest.mark.parametrize(
    "names",
    [
        ["a", "b"],
        [("a", 1), ("a", 2)],
        [1, 2.5],
        [True, dt.date(2026, 1, 5)],
        [pd.Timestamp("2026-01-05"), np.datetime64("2026-01-06")],
        [np.int64(4), np.str_("b")],
    ],
    ids=str,
)
def test_names_of_any_type(names, again):
    X, Y = mixed_tasks()
    table = pd.DataFrame(Y[:, [0, 2]])
    table.columns = pd.Index(names, dtype=object, tupleize_cols=False)
    X = pd.DataFrame(X, columns=list("wxyz"))
    est = MultiTaskClassifier(task_weight={names[0]: 2.0}, **SMALL).fit(X, table)
    twin = again(est)
    assert_alike(twin, est)
    assert twin.feature_names_in_.tolist() == list("wxyz")
    assert_alike(twin.task_names_, est.task_names_)


def test_categories(again):
    X, Y = mixed_tasks()
    rng = np.random.default_rng(0)
    X = pd.DataFrame(X).assign(
        city=rng.choice(["Rome", "Oslo", None], len(X)),
        size=pd.Categorical(rng.integers(3, size=len(X))),
    )
    X = pd.concat([X] * 3, ignore_index=True)
    Y = np.vstack([Y] * 3)
    X["user"] = [f"user {i}" for i in np.arange(len(X)) % 70]
    X.columns = X.columns.astype(str)
    est = MultiTaskEstimator(**{**SMALL, "encoder": plain_mlp((6,), min_frequency=2)})
    est.partial_fit(X, Y, CLASSES)
    twin = learn_on(est, again, X, Y)
    X.loc[0, "city"] = "Lima"  # which neither has seen
    assert_alike(twin.predict(X), est.predict(X))


PARAMETERS = {
    "groups": {"sharing": Grouped([[0, "task1"], [2]])},
    "adjacency": {"relation": TaskGraph(np.ones((3, 3)))},
    "tables": {"relation": TaskGraph(pd.DataFrame(np.ones((3, 3))))},
    "weights": {"weighting": Static(np.array([1.0, 2.0, 3.0]))},
    "targets": {"weighting": TargetKL({"task0": {-1: 0.2, 0: 0.8}})},
    "random state": {"random_state": np.random.RandomState(3)},
    "device": {"device": torch.device("cpu")},
    "optimizer": {"optimizer": torch.optim.RMSprop},
    "missing label": {"missing_label": pd.NA},
    "infinity": {"n_iter_no_change": np.inf},
    "class weight": {"class_weight": [{-1: 2.0}, None, {1: 0.5}]},
    "numbers of numpy": {"alpha": np.float32(0.1), "max_iter": np.int64(2)},
    "hard_example_mining": {
        "hard_example_mining": "margin",
        "hard_example_fraction": 0.3,
    },
    "precision": {"precision": "bf16"},
    "float64": {"precision": "float64", "loss": "huber"},
    "gradients": {"record_gradients": True},
    "sampling": {"sampling": "classes"},
}


@pytest.mark.parametrize("settings", PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_of_any_type(settings, again):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator(**{**SMALL, **settings}).partial_fit(X, Y, CLASSES)
    twin = again(est)
    assert_alike(twin, est)
    assert_alike(twin.get_params(), est.get_params())


def test_optimizer_and_its_state_go_on(again):
    X, Y = mixed_tasks()
    for optimizer in ("sgd", "adam", torch.optim.RMSprop):
        est = MultiTaskEstimator(**SMALL | {"optimizer": optimizer, "n_estimators": 2})
        learn_on(est.partial_fit(X, Y, CLASSES), again, X, Y)


def test_a_fit_keeps_no_state_of_the_optimizer(again):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator(**SMALL).fit(X, Y)
    assert again(est).net_.optimizer_ is None


def test_the_teacher_that_an_estimator_has_trained(again):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator(**SMALL | {"relation": "distillation", "n_estimators": 2})
    twin = learn_on(est.partial_fit(X, Y, CLASSES), again, X, Y)
    assert twin.teacher_.sharing == "independent"


def test_a_given_teacher_of_skmtl_stays_one_object(again):
    X, Y = mixed_tasks()
    teacher = MultiTaskEstimator(**SMALL).fit(X, Y)
    est = MultiTaskEstimator(relation=Distillation(teacher), **SMALL).fit(X, Y)
    twin = again(est)
    assert_alike(twin, est)
    assert twin.teacher_ is twin.relation.teacher is twin.net_.module__relation.teacher


def test_fitted_estimators_are_left_as_they_are(again, tmp_path):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator(**SMALL).partial_fit(X, Y, CLASSES)
    before = copy.deepcopy(est)
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    again(est)
    assert_alike(est, before)
    assert (torch.rand(1), np.random.rand()) == expected


def test_an_estimator_for_another_device_is_loaded_on_the_cpu(again):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator(**SMALL).fit(X, Y)
    expected = est.predict(X)
    twin = again(est.set_params(device="cuda"))
    assert twin.device == "cuda"
    assert {p.device.type for p in twin.module_.parameters()} == {"cpu"}
    assert_alike(twin.predict(X), expected)


# ------------------------------------------------------------------- a user's own code
class OwnEncoder(MLP):
    """A user's encoder, with something learned besides."""

    def prepare(self, inputs):
        spec = super().prepare(inputs)
        spec.seen_ = {"rows": len(inputs.rows)}
        return spec


class OwnSharing(Hard):
    """A user's sharing."""


class OwnEstimator(MultiTaskRegressor):
    """A user's estimator."""


def own_score(y_true, y_pred):
    """A user's metric."""
    return -mean_squared_error(y_true, y_pred)


def own_noise(X):
    """A user's augmentation."""
    return X + 0.1 * torch.randn_like(X)


def regression():
    return make_regression(60, n_features=4, n_targets=3, random_state=0)


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize("encoder", [Network, ModuleEncoder(Network), BatchNormed])
def test_a_module_by_its_import_path(encoder, n_estimators, again):
    X, Y = regression()
    settings = {**SMALL, "encoder": encoder, "n_estimators": n_estimators}
    est = MultiTaskRegressor(**settings).partial_fit(X, Y)
    module = getattr(encoder, "module", encoder)
    learn_on(est, again, X, Y, trusted=[f"tests._networks.{module.__name__}"])


def test_own_classes_and_functions_by_their_import_paths(again):
    X, Y = regression()
    est = OwnEstimator(
        OwnSharing(),
        encoder=OwnEncoder((5,)),
        augmentation=own_noise,
        validation_metric=own_score,
        early_stopping=True,
        max_iter=2,
        random_state=0,
    ).fit(X, Y)
    own = [OwnEstimator, OwnSharing, OwnEncoder, own_noise, own_score]
    assert_alike(again(est, own), est)
    rest = sorted(f"{one.__module__}.{one.__qualname__}" for one in own[2:])
    with pytest.raises(ModelFileError) as refused:
        again(est, own[:2])
    assert str(refused.value).endswith(f"load it with trusted={rest}.")


def test_what_is_not_trusted_is_not_imported(tmp_path, monkeypatch, again):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    X, Y = regression()
    est = MultiTaskRegressor(**{**SMALL, "augmentation": own_noise}).fit(X, Y)
    monkeypatch.setattr(own_noise, "__module__", "trap")
    monkeypatch.setattr(
        "skmtl._estimators.persistence.import_paths.follow_import_path",
        lambda path: own_noise,
    )
    skmtl.save(est, tmp_path / "model")
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelFileError, match=r"names code .* \['trap.own_noise'\]"):
        skmtl.load(tmp_path / "model")


def test_trusted_is_a_sequence(tmp_path):
    with pytest.raises(ValueError, match="must be a sequence of import paths"):
        skmtl.load(tmp_path / "model", trusted="tests.own")


# ---------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (
            {"callbacks": [LRScheduler("StepLR", step_size=1)]},
            "cannot store estimator.callbacks.0, a LRScheduler",
        ),
        ({"augmentation": lambda X: X}, "there is no import path to it"),
        ({"task_weight": range(1, 4)}, "cannot store estimator.task_weight, a range"),
    ],
    ids=["callbacks", "lambda", "range"],
)
def test_refuses_what_files_have_no_place_for(settings, error, tmp_path):
    X, Y = regression()
    est = MultiTaskRegressor(**{**SMALL, **settings}).fit(X, Y)
    with pytest.raises(ModelFileError, match=error):
        skmtl.save(est, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_refuses_teachers_of_others(tmp_path):
    X, Y = regression()
    teacher = RandomForestRegressor(2).fit(X, Y)
    est = MultiTaskRegressor(relation=Distillation(teacher), **SMALL).fit(X, Y)
    with pytest.raises(ModelFileError, match=r"relation.teacher, a RandomForestRegr"):
        skmtl.save(est, tmp_path / "model")


def test_refuses_other_estimators_and_unfitted_ones(tmp_path):
    with pytest.raises(ModelFileError, match="Got a Ridge: keep it with skops"):
        skmtl.save(Ridge(), tmp_path / "model")
    with pytest.raises(NotFittedError):
        skmtl.save(MultiTaskRegressor(n_estimators=1), tmp_path / "model")


def test_keeps_the_file_that_is_there_where_the_new_one_fails(tmp_path):
    X, Y = regression()
    est = MultiTaskRegressor(**SMALL).fit(X, Y)
    skmtl.save(est, tmp_path / "model")
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
    (tmp_path / "other").unlink()
    before = (tmp_path / "model").read_bytes()
    est.set_params(callbacks=[LRScheduler("StepLR", step_size=1)])
    with pytest.raises(ModelFileError):
        skmtl.save(est, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize(
    "change",
    [
        lambda module: setattr(module.heads, "bias", None),
        lambda module: setattr(module.heads, "extra", torch.nn.Linear(2, 1)),
        lambda module: setattr(module.heads.weight, "data", torch.zeros(3, 7)),
        lambda module: module.half(),
    ],
    ids=["less", "more", "another shape", "another type"],
)
def test_what_could_not_be_read_again_is_not_written(change, n_estimators, tmp_path):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator(**SMALL | {"n_estimators": n_estimators}).fit(X, Y)
    path = tmp_path / "model"
    skmtl.save(est, path)
    before = path.read_bytes()
    module = est.module_ if n_estimators == 1 else est.module_.together
    change(module)
    with pytest.raises(ModelFileError, match="changed after fit"):
        skmtl.save(est, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
