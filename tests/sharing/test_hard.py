"""Facts of hard parameter sharing."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.sharing import Hard
from tests._networks import ENCODERS, N_FEATURES, SAME_STEPS, Prepared, inputs, table


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_all_tasks_read_the_same_features_whatever_their_number(encoder):
    sizes = set()
    for n_tasks in (1, 2, 1000):
        torch.manual_seed(0)
        module = Hard().build(encoder, (N_FEATURES,), n_tasks).double().eval()
        features, shared = module(inputs(5))
        assert features.shape[1] == 1
        assert shared is features
        sizes.add(sum(p.numel() for p in module.parameters()))
    assert len(sizes) == 1


@pytest.mark.parametrize("cls", [MultiTaskClassifier, MultiTaskRegressor])
@pytest.mark.parametrize("norm", [None, "layer", "batch"])
def test_one_task_has_nobody_to_share_with(cls, norm):
    X, Z = table(n_tasks=1)
    y = Z[:, 0] if cls is MultiTaskRegressor else np.digitize(Z[:, 0], [-1, 1])
    encoder = Prepared(MLP((16, 8), norm=norm))
    hard, independent = (
        cls(sharing, encoder=encoder, batch_size=20, **SAME_STEPS).fit(X, y)
        for sharing in ("hard", "independent")
    )
    np.testing.assert_allclose(hard.loss_curve_, independent.loss_curve_)
    predict = "predict" if cls is MultiTaskRegressor else "predict_proba"
    np.testing.assert_allclose(
        getattr(hard, predict)(X), getattr(independent, predict)(X)
    )


def test_a_task_with_few_labels_gains_from_a_related_one():
    """The finding of the paper: related tasks are an inductive bias."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(20, 3))

    def draw(n):
        X = rng.normal(size=(n, 20))
        hidden = np.tanh(X @ directions)
        return X, np.column_stack([hidden @ [1, -1, 1], hidden @ [-1, 1, 1]])

    X, Y = draw(1000)
    Y[60:, 0] = np.nan
    X_new, Y_new = draw(500)
    score = {}
    for sharing in ("hard", "independent"):
        est = MultiTaskRegressor(
            sharing,
            encoder=MLP((32,)),
            learning_rate_init=1e-2,
            max_iter=60,
            early_stopping=False,
            random_state=0,
        ).fit(X, Y)
        score[sharing] = est.task_estimator(0).score(X_new, Y_new[:, 0])
    assert score["hard"] > score["independent"] + 0.1
