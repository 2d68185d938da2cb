"""A user's own torch.nn.Module class as the encoder."""

import pickle
from itertools import cycle, product

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP, Encoder, EncoderModule, ModuleEncoder
from skmtl.sharing import SHARING
from tests._networks import (
    N_FEATURES,
    BatchNormed,
    Network,
    WithoutArguments,
    inputs,
    table,
)

every_sharing = pytest.mark.parametrize("sharing", SHARING)


def labels(n=60):
    X, Z = table(n)
    return X, np.column_stack([Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1])])


@pytest.mark.parametrize(
    ("module", "training"),
    [
        (Network, False),
        (Network, True),
        (BatchNormed, False),
        (BatchNormed, True),
        (WithoutArguments, False),  # its dropout draws anew in each copy while training
    ],
)
def test_copies_are_the_networks_one_by_one(module, training):
    torch.manual_seed(0)
    stacked = ModuleEncoder(module).build((N_FEATURES,), 3).double().train(training)
    torch.manual_seed(0)
    known = {} if module is WithoutArguments else {"n_features": N_FEATURES}
    separate = [module(**known).double().train(training) for _ in range(3)]
    X = inputs(9)
    features = stacked(X)
    weight = torch.randn_like(features)
    (features * weight).sum().backward()
    for copy, network in enumerate(separate):
        out = network(X)
        torch.testing.assert_close(features[copy], out)
        (out * weight[copy]).sum().backward()
    found = sorted(float(p.grad.abs().sum()) for p in stacked.parameters())
    grads = [list(n.parameters()) for n in separate]
    if module is BatchNormed:  # kept apart, so that statistics are each network's own
        expected = [float(p.grad.abs().sum()) for ps in grads for p in ps]
    else:
        expected = [
            float(sum(p.grad.abs().sum() for p in ps))
            for ps in zip(*grads, strict=True)
        ]
    np.testing.assert_allclose(found, sorted(expected), atol=1e-9)


MODULES = [Network, BatchNormed, WithoutArguments]


@pytest.mark.one_version
@pytest.mark.parametrize(
    ("sharing", "module"),
    dict.fromkeys(
        [*product(["hard"], MODULES), *zip(SHARING, cycle(MODULES), strict=False)]
    ),
)
@pytest.mark.sampled(5)
def test_modules_train_and_predict_under_every_sharing(sharing, module):
    X, Y = labels()
    est = MultiTaskClassifier(
        sharing,
        encoder=module,
        learning_rate_init=1e-2,
        batch_size=20,
        max_iter=40,
        random_state=0,
        n_estimators=1,
    ).fit(X, Y)
    assert est.score(X, Y) > 0.8
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.predict(X), est.predict(X))
    refit = clone(est).fit(X, Y)
    np.testing.assert_array_equal(refit.predict_proba(X)[0], est.predict_proba(X)[0])
    np.testing.assert_array_equal(est.predict(X[:1]), est.predict(X)[:1])


def narrow(n_features):
    return nn.Sequential(nn.Linear(n_features, 5), nn.ReLU())


@every_sharing
def test_a_function_can_make_the_module(sharing):
    X, Y = labels()
    est = MultiTaskClassifier(sharing, encoder=narrow, max_iter=2, n_estimators=1).fit(
        X, Y
    )
    assert any(getattr(m, "width", 0) == 5 for m in est.module_.sharing.modules())


def test_encoders_of_all_forms_compete_in_one_search():
    X, Y = labels()
    grid = {"encoder": ["mlp", MLP((16,)), Network, narrow, ModuleEncoder(Network)]}
    search = GridSearchCV(
        MultiTaskClassifier(max_iter=2, n_estimators=1), grid, cv=KFold(2)
    )
    search.fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def images(n=40):
    X = np.random.default_rng(0).normal(size=(n, 1, 6, 6))
    return X, np.column_stack([X.mean(axis=(1, 2, 3)) > 0, X[:, 0, 0, 0] > 0])


class Convolution(nn.Sequential):
    def __init__(self, n_features):
        super().__init__(
            nn.Conv2d(n_features, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )


@pytest.mark.one_version
@every_sharing
def test_images_go_through_convolutions(sharing):
    X, Y = images()
    est = MultiTaskClassifier(
        sharing, encoder=Convolution, max_iter=3, n_estimators=1
    ).fit(X, Y)
    assert est.predict(X).shape == Y.shape
    assert est.n_features_in_ == 1
    with pytest.raises(ValueError, match="samples of shape"):
        est.predict(X[:, :, :5])


class Unflattened(nn.Conv2d):
    def __init__(self, n_features):
        super().__init__(n_features, 4, 3)


class Pair(nn.Linear):
    def __init__(self, n_features):
        super().__init__(n_features, 4)

    def forward(self, X):
        return super().forward(X), X


class Mean(nn.Linear):
    def __init__(self, n_features):
        super().__init__(n_features, 4)

    def forward(self, X):
        return super().forward(X).mean(dim=0)


class OtherWidth(nn.Linear):
    def __init__(self):
        super().__init__(N_FEATURES + 3, 4)


def no_module():
    return "a network"


@pytest.mark.one_version
@every_sharing
@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Pair, r"must map n samples to features .* it returned tuple: flatten or pool"),
        (Mean, r"must map n samples to features .* it returned \(4,\): flatten"),
        (OtherWidth, r"cannot take a batch of shape \(2, 4\)"),
        (no_module, r"a callable that returns a torch.nn.Module.* returned str"),
        (Network(N_FEATURES), r"not a module: .* give Network itself"),
        (SHARING["hard"](), r"'encoder' parameter"),
    ],
    ids=["tuple", "one row", "width", "no module", "instance", "other family"],
)
@pytest.mark.sampled(5)
def test_wrong_modules_get_one_sentence(sharing, encoder, message):
    X, Y = labels()
    est = MultiTaskClassifier(sharing, encoder=encoder, n_estimators=1)
    with pytest.raises(ValueError, match=message) as caught:
        est.fit(X, Y)
    assert "\n" not in str(caught.value)
    assert not est.__sklearn_is_fitted__()


def test_features_that_are_not_flat_get_one_sentence():
    X, Y = images()
    with pytest.raises(ValueError, match=r"it returned \(2, 4, 4, 4\): flatten"):
        MultiTaskClassifier(encoder=Unflattened, n_estimators=1).fit(X, Y)


def lazy():
    return nn.Sequential(nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.ReLU())


def lazy_without_statistics():
    return nn.Sequential(nn.LazyLinear(6), nn.ReLU())


class Tied(nn.Module):
    """Two layers of the same weights."""

    def __init__(self, n_features):
        super().__init__()
        self.first = nn.Linear(n_features, n_features)
        self.second = nn.Linear(n_features, n_features)
        self.second.weight = self.first.weight

    def forward(self, X):
        return self.second(self.first(X).tanh())


class Counting(nn.Linear):
    """Changes a buffer of its own."""

    def __init__(self, n_features):
        super().__init__(n_features, 6)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, X):
        if self.training:
            self.seen = self.seen + len(X)
        return super().forward(X)


class Attention(nn.Module):
    """Uses operations of which some have no rule for vmap."""

    def __init__(self, n_features):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(n_features, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, X):
        return self.layer(X[:, :, None] * self.embedding).mean(dim=1)


class Branching(nn.Linear):
    """Decides in Python by what it computes."""

    def __init__(self, n_features):
        super().__init__(n_features, 6)

    def forward(self, X):
        H = super().forward(X)
        return H if H.sum() > 0 else H.abs()


#: Strategies that hold one network, or none.
WITHOUT_COPIES = {"adapter", "chain", "grouped", "hard", "mtan", "task_token"}
WITHOUT_COPIES |= {"auto_grouped"}  # which finds one group


@pytest.mark.one_version
@every_sharing
@pytest.mark.parametrize(
    ("module", "stacks"),
    [
        (Network, True),
        (lazy_without_statistics, True),
        (WithoutArguments, True),
        (lazy, False),
        (nn.Identity, False),
        (nn.Flatten, False),
        (Tied, True),
        (Counting, False),
        (Attention, False),
        (Branching, False),
    ],
)
@pytest.mark.sampled(5)
def test_what_cannot_be_stacked_runs_one_by_one(sharing, module, stacks):
    X, Y = labels()
    settings = {"max_iter": 3, "early_stopping": False, "n_estimators": 1}
    est = MultiTaskClassifier(sharing, encoder=module, random_state=0, **settings)
    est.fit(X, Y)
    networks = [m for m in est.module_.modules() if type(m).__name__ == "_Stacked"]
    assert bool(networks) == (stacks and sharing not in WITHOUT_COPIES)
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.predict(X), est.predict(X))
    for module in est.module_.modules():
        if isinstance(module, Counting):
            assert module.seen == 3 * len(X)


class Fourier(Encoder):
    """A user-written encoder, not registered."""

    def __init__(self, n_waves=8):
        self.n_waves = n_waves

    def build(self, input_shape, n_copies=1):
        return _Fourier(input_shape[0], self.n_waves, n_copies)


class _Fourier(EncoderModule):
    def __init__(self, n_inputs, n_waves, n_copies):
        super().__init__()
        self.n_copies = n_copies
        self.width = 2 * n_waves
        self.frequency = nn.Parameter(torch.randn(n_copies, n_inputs, n_waves))

    def forward(self, X):
        angle = X @ self.frequency
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


@pytest.mark.one_version
@every_sharing
@pytest.mark.sampled(4)
def test_a_user_written_encoder_works_unregistered(sharing):
    X, Y = labels()
    est = MultiTaskClassifier(
        sharing,
        encoder=Fourier(),
        learning_rate_init=1e-2,
        max_iter=60,
        random_state=0,
        n_estimators=1,
    )
    est.set_params(encoder__n_waves=16).fit(X, Y)
    assert est.score(X, Y) > 0.9
    assert "Fourier(n_waves=16)" in repr(est)
