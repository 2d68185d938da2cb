"""Facts of hard parameter sharing."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import Hard
from tests._networks import (
    ENCODERS,
    SAME_STEPS,
    Prepared,
    inputs,
    plain_mlp,
    shape_of,
    table,
)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_all_tasks_read_the_same_features_whatever_their_number(encoder):
    sizes = set()
    for n_tasks in (1, 2, 1000):
        torch.manual_seed(0)
        module = Hard().build(encoder, shape_of(encoder), n_tasks).double().eval()
        features, shared = module(inputs(5, encoder=encoder))
        assert features.shape == (5, module.width)
        assert shared is features
        sizes.add(sum(p.numel() for p in module.parameters()))
    assert len(sizes) == 1


@pytest.mark.parametrize("cls", [MultiTaskClassifier, MultiTaskRegressor])
@pytest.mark.parametrize("norm", [None, "layer", "batch"])
def test_one_task_has_nobody_to_share_with(cls, norm):
    X, Z = table(n_tasks=1)
    y = Z[:, 0] if cls is MultiTaskRegressor else np.digitize(Z[:, 0], [-1, 1])
    encoder = Prepared(plain_mlp((16, 8), norm=norm))
    hard, independent = (
        cls(sharing, encoder=encoder, batch_size=20, **SAME_STEPS).fit(X, y)
        for sharing in ("hard", "independent")
    )
    np.testing.assert_allclose(hard.loss_curve_, independent.loss_curve_)
    predict = "predict" if cls is MultiTaskRegressor else "predict_proba"
    np.testing.assert_allclose(
        getattr(hard, predict)(X), getattr(independent, predict)(X)
    )


def test_a_task_with_few_labels_gains_from_related_ones():
    """The finding of the paper: related tasks are an inductive bias."""
    gains = [
        score_of_rare_task("hard", seed) - score_of_rare_task("independent", seed)
        for seed in range(4)
    ]
    assert np.mean(gains) > 0.05


def score_of_rare_task(sharing, seed):
    """Return R² of a task with 60 labels beside two with 1,000 on the same causes."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(20, 3))
    X = rng.normal(size=(1500, 20))
    Y = np.tanh(X @ causes) @ np.array([[1, 1, -1], [-1, 1, 1], [1, 0.5, 1]])
    train, test = slice(1000), slice(1000, None)
    y = Y[:, 0].copy()
    Y[60:, 0] = np.nan
    est = MultiTaskRegressor(
        sharing,
        encoder=plain_mlp((32,)),
        learning_rate_init=1e-2,
        max_iter=40,
        early_stopping=False,
        random_state=0,
        n_estimators=1,
    ).fit(X[train], Y[train])
    return est.task_estimator(0).score(X[test], y[test])
