"""Facts of sluice networks: subspaces are mixed, heads read several layers."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import ModuleEncoder
from skmtl.sharing import CrossStitch, Independent, Sluice
from tests._networks import (
    ENCODERS,
    N_FEATURES,
    BatchNormed,
    Network,
    Prepared,
    inputs,
    plain_mlp,
    randomised,
    shape_of,
    table,
)
from tests.sharing import test_all as contract
from tests.sharing._helpers import IMAGE_SHAPE, Convolutions

T = 3
SKIPPING = plain_mlp((7, 5, 5, 5))  # widths that two does not divide, three to read


def built(sharing, encoder=SKIPPING, n_tasks=T, shape=None):
    shape = shape or shape_of(encoder)
    return sharing.build(encoder, shape, n_tasks).double()


@pytest.mark.parametrize("name", [n for n in ENCODERS if "module" not in n])
def test_one_subspace_without_skips_is_cross_stitch(name):
    sluice = built(Sluice(1, skips=False, self_weight=0.7), ENCODERS[name])
    stitch = built(CrossStitch(0.7), ENCODERS[name])
    stitch.load_state_dict(sluice.state_dict())
    X = inputs(9, encoder=ENCODERS[name])
    for _ in range(2):
        found, expected = (module.eval()(X) for module in (sluice, stitch))
        torch.testing.assert_close(found, expected)
        randomised(sluice, 0)
        randomised(stitch, 0)


@pytest.mark.parametrize("n_subspaces", [1, 2, 3, 5])
def test_unmixed_features_are_those_of_independent_tasks(n_subspaces):
    encoder = Prepared(SKIPPING)
    module = built(Sluice(n_subspaces, self_weight=1.0), encoder)
    X = inputs(9)
    torch.testing.assert_close(module(X)[0], built(Independent(), encoder)(X)[0])


def subspaces(H, n):
    """Return the features of each task's subspaces, one after another."""
    return [task[:, j::n] for task in H for j in range(n)]


def test_subspaces_mix_as_told():
    module = randomised(built(Sluice(2), plain_mlp(5), n_tasks=2), 0)
    X = inputs(9)
    parts = subspaces(module.columns(X), 2)  # of three and two features each
    W = module.weights(0)
    features, _ = module(X)
    for i, found in enumerate(subspaces(features.transpose(0, 1), 2)):
        width = found.shape[1]
        expected = sum(
            W[i, j] * torch.nn.functional.pad(part, (0, 1))[:, :width]
            for j, part in enumerate(parts)
        )
        torch.testing.assert_close(found, expected)


def test_heads_read_layers_of_the_last_one_s_shape():
    module = randomised(built(Sluice(2, self_weight=1.0)), 0)
    with torch.no_grad():
        for deviation in module.deviations:
            deviation.zero_()
    outputs, H = [], inputs(9)
    for step in module.columns.steps():
        H = step(H)
        outputs.append(H)
    weights = module.skips.detach() + torch.tensor([0.0, 0.0, 1.0])
    features, shared = module(inputs(9))
    assert shared.shape == (9, 3, T, 5)
    for t in range(T):
        read = [H[t] for H in outputs[1:]]
        expected = sum(w * h for w, h in zip(weights[t], read, strict=True))
        torch.testing.assert_close(features[:, t], expected)


@pytest.mark.parametrize(
    "encoder",
    [plain_mlp((8, 6)), ModuleEncoder(Network), plain_mlp(()), Convolutions()],
)
def test_there_are_no_skips_where_no_earlier_layer_can_be_read(encoder):
    shape = IMAGE_SHAPE if isinstance(encoder, Convolutions) else (N_FEATURES,)
    module = built(Sluice(), encoder, shape=shape)
    assert not hasattr(module, "skips")


@pytest.mark.parametrize("encoder", [SKIPPING, Convolutions()], ids=str)
def test_skips_and_images_keep_the_contract(encoder):
    spec = Sluice(2, orthogonality=0.1)
    contract.test_every_parameter_gets_a_gradient(spec, encoder)
    contract.test_shared_parameters_are_those_that_autograd_finds_to_be(spec, encoder)
    contract.test_shared_features_are_what_several_tasks_depend_on(spec, encoder)
    contract.test_three_stacked_networks_train_as_three_separate_ones(spec, encoder)


def test_all_that_reaches_tasks_goes_through_the_shared_features():
    module = randomised(built(Sluice()), 0)
    features, shared = module(inputs(9))
    loss = features.sin().sum()
    (at_shared,) = torch.autograd.grad(loss, shared, retain_graph=True)
    columns = list(module.columns.parameters())
    expected = torch.autograd.grad(loss, columns, retain_graph=True)
    torch.testing.assert_close(
        torch.autograd.grad(shared, columns, at_shared), expected
    )


@pytest.mark.parametrize(
    "encoder", [plain_mlp(6), ModuleEncoder(Network), ModuleEncoder(BatchNormed)]
)
@pytest.mark.parametrize("n_tasks", [1, T])
def test_penalty_is_the_overlap_of_a_task_s_subspaces(encoder, n_tasks):
    module = randomised(built(Sluice(3, orthogonality=0.3), encoder, n_tasks), 0)
    (weight,) = [
        parameter.reshape(n_tasks, 6, N_FEATURES)
        for parameter in module.columns.stacks().values()
        if parameter.numel() == n_tasks * 6 * N_FEATURES
    ]
    expected = sum(
        (W[i::3] @ W[j::3].T).square().sum()
        for W in weight
        for i in range(3)
        for j in range(i)
    )
    torch.testing.assert_close(module.penalty(), 0.3 / n_tasks * expected)


@pytest.mark.parametrize(
    ("spec", "encoder"),
    [
        (Sluice(2), SKIPPING),
        (Sluice(1, orthogonality=1.0), SKIPPING),
        (Sluice(2, orthogonality=1.0), plain_mlp(())),
    ],
)
def test_there_is_no_penalty_where_nothing_overlaps(spec, encoder):
    assert built(spec, encoder).penalty() is None


def test_orthogonality_sets_subspaces_apart():
    X, Y = table(n=100)
    overlaps = []
    for orthogonality in (0.0, 1.0):
        est = MultiTaskRegressor(
            Sluice(orthogonality=orthogonality),
            encoder=plain_mlp((8, 8)),
            learning_rate_init=1e-2,
            max_iter=300,
            early_stopping=False,
            n_iter_no_change=np.inf,
            random_state=0,
            n_estimators=1,
        ).fit(X, Y)
        assert est.score(X, Y) > 0.9
        module = est.module_.sharing
        module.orthogonality = 1.0
        overlaps.append(float(module.penalty().detach()))
    assert overlaps[1] < 0.1 * overlaps[0]


def test_many_tasks_are_mixed_at_once():
    module = built(Sluice(), plain_mlp((4, 4)), n_tasks=512)
    module(inputs(8))[0].sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"n_subspaces": 0}, "n_subspaces"),
        ({"n_subspaces": 1.5}, "n_subspaces"),
        ({"skips": "some"}, "skips"),
        ({"self_weight": 2}, "self_weight"),
        ({"orthogonality": -1}, "orthogonality"),
    ],
)
def test_bad_settings_are_refused_before_training(parameters, name):
    X, Z = table()
    est = MultiTaskClassifier(Sluice(**parameters), n_estimators=1)
    with pytest.raises(ValueError, match=f"'{name}' parameter of Sluice"):
        est.fit(X, Z > 0)


def test_more_subspaces_than_features_are_refused_before_training():
    X, Z = table()
    est = MultiTaskClassifier(Sluice(7), encoder=plain_mlp((8, 6)), n_estimators=1)
    with pytest.raises(ValueError, match=r"must be at most 6.*narrowest.* Got 7\."):
        est.fit(X, Z > 0)
