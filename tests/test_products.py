"""What is chosen from the registries works together, in estimators of every kind."""

import itertools
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import CNN, ENCODER, MLP
from skmtl.relation import RELATION
from skmtl.sharing import SHARING
from skmtl.weighting import WEIGHTING
from tests._networks import BatchNormed, Network
from tests._pairs import pairs

N = 40
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(N, 4))
IMAGES = RNG.normal(size=(N, 2, 8, 8))
NUMBERS = TABLE @ RNG.normal(size=(4, 3))
CLASSES = np.column_stack([NUMBERS[:, 0] > 0, np.digitize(NUMBERS[:, 1:], [-1, 1])])
TARGETS = {
    MultiTaskClassifier: CLASSES,
    MultiTaskRegressor: NUMBERS,
    MultiTaskEstimator: np.column_stack([CLASSES[:, :2], NUMBERS[:, 2]]),
}


class Convolutions(nn.Sequential):
    """A user's network for images."""

    def __init__(self, n_features):
        super().__init__(
            nn.Conv2d(n_features, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten()
        )


ENCODERS = {
    "mlp": MLP((8, 8)),
    "periodic_embedding": ENCODER["periodic_embedding"]((8,), embedding_dim=2),
    "piecewise_linear_embedding": ENCODER["piecewise_linear_embedding"]((8,)),
    "cnn": CNN((4, 6), hidden_layer_sizes=(8,)),
    "module": Network,
    "module with batch norm": BatchNormed,
    "module for images": Convolutions,
}
ON_IMAGES = {"cnn", "module for images"}


def test_every_encoder_is_here():
    assert set(ENCODER) <= set(ENCODERS)


@pairs(("sharing", "name", "cls"), list(SHARING), list(ENCODERS), list(TARGETS))
@pytest.mark.sampled(5)
def test_it_fits_predicts_and_is_stored(sharing, name, cls):
    X, Y = IMAGES if name in ON_IMAGES else TABLE, TARGETS[cls].astype(float)
    Y[::4, 1] = np.nan
    est = cls(sharing, encoder=ENCODERS[name], n_estimators=1, max_iter=2)
    est = est.set_params(random_state=0).fit(X, Y)
    predicted = est.predict(X)
    assert predicted.shape == Y.shape
    assert np.isfinite(predicted.astype(float)).all()
    assert np.isfinite(est.score(X, Y))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict(X), predicted)
    np.testing.assert_array_equal(clone(est).fit(X, Y).predict(X), predicted)


@pytest.mark.one_version
@pytest.mark.filterwarnings("ignore:.* but they share none")
@pairs(
    ("sharing", "weighting", "relation"), list(SHARING), list(WEIGHTING), list(RELATION)
)
@pytest.mark.sampled(11)
def test_sharing_weighting_and_relation_train_together(sharing, weighting, relation):
    Y = CLASSES.astype(float)
    Y[::4, 1] = np.nan
    est = MultiTaskClassifier(
        sharing,
        weighting=weighting,
        relation=relation,
        encoder=MLP((8, 8)),
        n_estimators=1,
        max_iter=3,
        learning_rate_init=1e-2,
        random_state=0,
    ).fit(TABLE, Y)
    assert min(est.loss_curve_[1:]) < est.loss_curve_[0]
    assert est.module_.relation is not None
    for p, q in zip(
        est.predict_proba(TABLE),
        pickle.loads(pickle.dumps(est)).predict_proba(TABLE),
        strict=True,
    ):
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.sampled(2)
def test_all_compete_in_one_search(images):
    X = IMAGES if images else TABLE
    names = [name for name in ENCODERS if (name in ON_IMAGES) == images]
    grid = [
        {"sharing": [sharing], "encoder": [ENCODERS[name]]}
        for sharing, name in zip(SHARING, itertools.cycle(names), strict=False)
    ]
    est = MultiTaskClassifier(n_estimators=1, max_iter=1, random_state=0)
    search = GridSearchCV(est, grid, cv=KFold(2)).fit(X, CLASSES)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == len(SHARING)
    assert np.isfinite(scores).all()
