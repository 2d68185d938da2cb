"""What every encoder promises."""

import pytest
import torch

from skmtl.encoder import ENCODER, EncoderModule
from tests._networks import (
    ENCODERS,
    MUTATING,
    RANDOM,
    REPLICABLE,
    check_spec,
    inputs,
    randomised,
    shape_of,
    state_of,
)

pytestmark = [
    pytest.mark.one_version,
]

encoders = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())


def built(encoder, n_copies, seed=0):
    torch.manual_seed(seed)
    module = encoder.build(shape_of(encoder), n_copies).double()
    return randomised(module, seed)


@encoders
def test_spec_is_a_small_estimator(encoder):
    check_spec(encoder)


@pytest.mark.parametrize("name", ENCODER)
def test_default_spec_is_a_small_estimator_that_builds(name):
    check_spec(ENCODER[name]())


@encoders
@pytest.mark.parametrize("n_copies", [1, 2, 5])
@pytest.mark.parametrize("n", [1, 2, 17])
@pytest.mark.sampled(4)
def test_features_have_one_row_per_copy_and_sample(encoder, n_copies, n):
    module = built(encoder, n_copies).eval()
    assert isinstance(module, EncoderModule)
    assert module.n_copies == n_copies
    features = module(inputs(n, encoder=encoder))
    assert features.shape == (n_copies, n, module.width)
    assert features.isfinite().all()


@encoders
@pytest.mark.parametrize("n_copies", [1, 3])
def test_walking_its_steps_is_the_whole_network(encoder, n_copies):
    shape = shape_of(encoder)
    module = built(encoder, n_copies).float().probe(shape).double().eval()
    X = H = inputs(9, encoder=encoder)
    for i, shape in enumerate(module.shapes):
        H = module.step(i, H)
        assert H.shape == (n_copies, 9, *shape)
    assert len(module.shapes) == len(module.steps())
    assert shape == (module.width,)
    torch.testing.assert_close(H, module(X))


@encoders
def test_samples_do_not_mix_when_evaluated(encoder):
    module = built(encoder, 3).eval()
    X = inputs(17, encoder=encoder)
    for rows in ([3], [16, 0], [5, 5, 7]):
        torch.testing.assert_close(module(X[rows]), module(X)[:, rows])


@encoders
def test_copies_start_from_different_weights(encoder):
    torch.manual_seed(0)
    module = encoder.build(shape_of(encoder), 3).double().eval()
    if not list(module.parameters()):
        return
    features = module(inputs(5, encoder=encoder))
    assert not torch.allclose(features[0], features[1])
    assert not torch.allclose(features[1], features[2])


@encoders
def test_copies_depend_on_no_parameter_of_another(encoder):
    module = built(encoder, 3).eval()
    parameters = list(module.parameters())
    if not parameters:
        return
    features = module(inputs(64, encoder=encoder))
    used = []
    for copy in range(3):
        gradients = torch.autograd.grad(
            (features[copy] * torch.randn_like(features[copy])).sum(),
            parameters,
            retain_graph=True,
            materialize_grads=True,
        )
        used.append(torch.cat([g.flatten() != 0 for g in gradients]))
    assert torch.stack(used).sum(dim=0).max() == 1


@pytest.mark.parametrize(
    "encoder", [*REPLICABLE.values(), *RANDOM.values()], ids=[*REPLICABLE, *RANDOM]
)
def test_forward_changes_no_state(encoder):
    module = built(encoder, 3).train()
    before = state_of(module)
    module(inputs(17, encoder=encoder))
    assert all(torch.equal(before[n], v) for n, v in state_of(module).items())


@pytest.mark.parametrize("encoder", MUTATING.values(), ids=MUTATING.keys())
@pytest.mark.parametrize("n_copies", [1, 3])
def test_batch_normalisation_learns_its_statistics(encoder, n_copies):
    module = built(encoder, n_copies).train()
    before = state_of(module)
    module(inputs(17, encoder=encoder))
    assert any(not torch.equal(before[n], v) for n, v in state_of(module).items())


@encoders
def test_building_is_decided_by_torch_s_seed(encoder):
    first, second = built(encoder, 3), built(encoder, 3)
    assert all(torch.equal(a, state_of(second)[n]) for n, a in state_of(first).items())


@encoders
@pytest.mark.parametrize("n_copies", [1, 3])
def test_walking_the_steps_is_the_network(encoder, n_copies):
    shape = shape_of(encoder)
    module = encoder.build(shape, n_copies).probe(shape).double().eval()
    X = inputs(5, encoder=encoder)
    H = X
    for i, step_shape in enumerate(module.shapes):
        H = module.step(i, H)
        assert H.shape == (n_copies, 5, *step_shape)
    assert len(module.shapes) == len(module.steps())
    torch.testing.assert_close(H, module(X))
