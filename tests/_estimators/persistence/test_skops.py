"""skops stores estimators, alone and in what scikit-learn makes of them."""

import copy
import pickle

import numpy as np
import pytest
import skops.io
import torch
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops.io.exceptions import UntrustedTypesFoundException
from skorch.callbacks import LRScheduler

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.exceptions import ModelFileError
from skmtl.sharing import Additive, MMoE
from tests._estimators.persistence._alike import assert_alike
from tests._estimators.persistence.test_save import (
    CLASSES,
    SMALL,
    OwnEncoder,
    mixed_tasks,
    own_noise,
    regression,
)


def again(estimator, own=()):
    """Store an estimator and load it, trusting the types of skmtl and some more."""
    stored = skops.io.dumps(estimator)
    unknown = skops.io.get_untrusted_types(data=stored)
    assert set(unknown) <= {*skmtl.get_trusted_types(), *own}
    return skops.io.loads(stored, trusted=[*skmtl.get_trusted_types(), *own])


@pytest.mark.parametrize(
    "settings",
    [
        {"n_estimators": 1},
        {"n_estimators": 2, "sharing": MMoE(2)},
        {"n_estimators": 2, "weighting": "upgrad", "relation": "graph"},
        {"relation": "distillation", "random_state": np.random.RandomState(0)},
    ],
    ids=["one", "stacked", "in turns", "teacher"],
)
def test_estimators_that_train_on(settings):
    X, Y = mixed_tasks()
    est = MultiTaskEstimator(**{**SMALL, **settings}).partial_fit(X, Y, CLASSES)
    twin = again(est)
    assert_alike(twin, est)
    for one in (est, twin):
        one.partial_fit(X, Y)
    assert_alike(twin, est)


def test_pipelines_and_searches():
    X, Y = regression()
    est = make_pipeline(StandardScaler(), MultiTaskRegressor(**SMALL))
    search = GridSearchCV(
        est,
        {"multitaskregressor__sharing": ["hard", Additive()]},
        cv=2,
    ).fit(X, Y)
    of_sklearn = [
        "metrics._scorer._PassthroughScorer",
        "model_selection._split.KFold",
        "utils._metadata_requests.MetadataRequest",  # of earlier versions
        "utils._metadata_requests.MethodMetadataRequest",
    ]
    twin = again(search, [f"sklearn.{name}" for name in of_sklearn])
    assert_alike(twin.predict(X), search.predict(X))
    assert_alike(twin.best_estimator_[-1], search.best_estimator_[-1])
    assert repr(twin) == repr(search)


def test_views_of_one_task():
    X, Y = mixed_tasks()
    view = MultiTaskEstimator(**SMALL).fit(X, Y).task_estimator("task2")
    assert_alike(again(view).predict_proba(X), view.predict_proba(X))


def test_estimators_that_are_not_fitted():
    est = MultiTaskClassifier(
        MMoE(3), encoder=MLP((3,)), class_weight={"a": 2.0}, n_estimators=1
    )
    twin = again(est)
    assert repr(twin) == repr(est)
    with pytest.raises(NotFittedError):
        twin.predict([[0.0]])


def test_own_code_is_asked_for():
    X, Y = regression()
    settings = {
        **SMALL,
        "encoder": OwnEncoder((5,)),
        "augmentation": own_noise,
        "n_estimators": 1,
    }
    est = MultiTaskRegressor(**settings).fit(X, Y)
    own = [
        "tests._estimators.persistence.test_save.OwnEncoder",
        "tests._estimators.persistence.test_save.own_noise",
    ]
    assert_alike(again(est, own), est)
    with pytest.raises(UntrustedTypesFoundException, match=r"OwnEncoder.*own_noise"):
        skops.io.loads(skops.io.dumps(est), trusted=skmtl.get_trusted_types())


def test_requests_for_metadata_are_kept():
    with config_context(enable_metadata_routing=True):
        est = MultiTaskRegressor(n_estimators=1).set_fit_request(sample_weight=True)
        est.set_score_request(sample_weight="weight")
        twin = again(est)
        assert str(twin.get_metadata_routing()) == str(est.get_metadata_routing())
    assert "_metadata_request" not in vars(again(MultiTaskRegressor(n_estimators=1)))


def test_refuses_what_it_has_no_place_for():
    est = MultiTaskRegressor(
        callbacks=[LRScheduler("StepLR", step_size=1)], n_estimators=1
    )
    with pytest.raises(
        ModelFileError, match=r"cannot store MultiTaskRegressor\.callbacks"
    ):
        skops.io.dumps(est)


def test_refuses_a_state_that_is_no_model():
    X, Y = regression()
    est = MultiTaskRegressor(**SMALL).fit(X, Y)
    state = est.__getstate__()
    state["tensors"].pop("MultiTaskRegressor.net.module.heads.bias")
    with pytest.raises(
        ModelFileError, match="This is no state of a MultiTaskRegressor"
    ):
        MultiTaskRegressor(n_estimators=1).__setstate__(state)
    state["skmtl_document"] = "{}"
    with pytest.raises(
        ModelFileError, match="This is no state of a MultiTaskRegressor"
    ):
        MultiTaskRegressor(n_estimators=1).__setstate__(state)


def test_code_that_skops_has_not_seen_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    X, Y = regression()
    settings = {**SMALL, "augmentation": own_noise, "n_estimators": 1}
    state = MultiTaskRegressor(**settings).fit(X, Y).__getstate__()
    path = "tests._estimators.persistence.test_save.own_noise"
    state["skmtl_document"] = state["skmtl_document"].replace(path, "trap.run")
    state["own"] = ["trap.run"]
    with pytest.raises(ModelFileError, match="its code is named by strings"):
        MultiTaskRegressor(n_estimators=1).__setstate__(state)
    state["own"] = [own_noise]
    with pytest.raises(ModelFileError, match=r"trap\.run"):
        MultiTaskRegressor(n_estimators=1).__setstate__(state)


class WithState(MultiTaskRegressor):
    """A user's estimator with a state of its own."""

    def __getstate__(self):
        return {**super().__getstate__(), "own": 3}


def test_pickle_and_copy_keep_everything():
    X, Y = regression()
    scheduler = LRScheduler("StepLR", step_size=1)
    est = WithState(callbacks=[scheduler], **SMALL).fit(X, Y)
    for twin in (pickle.loads(pickle.dumps(est)), copy.deepcopy(est)):
        assert twin.own == 3
        assert type(twin.net_.callbacks_[0][1]) is LRScheduler
        torch.testing.assert_close(twin.predict(X), est.predict(X), rtol=0, atol=0)
    assert copy.copy(est).net_ is est.net_
