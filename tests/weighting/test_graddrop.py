"""GradDrop: one sign per entry."""

import pytest
import torch
import torchjd.aggregation as other

from skmtl.weighting import GradDrop
from tests.weighting.test_gradients import gradients

T = 4


def combined(G, leak=0.0, present=None, seed=0):
    torch.manual_seed(seed)
    return GradDrop(leak=leak).build(len(G)).combine(G, present)


@pytest.mark.parametrize("leak", [0.0, 0.3, 1.0])
def test_agrees_with_torchjd(leak):
    G = gradients(T, 200)
    torch.manual_seed(0)
    expected = other.GradDrop(leak=torch.full((T,), leak).double())(G)
    torch.testing.assert_close(combined(G, leak), expected)


def test_each_entry_has_gradients_of_one_sign():
    G = gradients(T, 200).reshape(T, 20, 10)
    found = combined(G)
    rising, falling = G.clamp(min=0).sum(dim=0), G.clamp(max=0).sum(dim=0)
    assert found.shape == (20, 10)
    assert ((found == rising) | (found == falling)).all()
    assert (found > 0).any()
    assert (found < 0).any()


def test_on_average_it_is_the_sum():
    G = gradients(T, 12, shift=0.0)
    mean = combined(G.unsqueeze(2).expand(T, 12, 4000)).mean(dim=1)
    torch.testing.assert_close(mean, G.sum(dim=0), rtol=0, atol=0.25)


def test_gradients_that_agree_are_summed():
    G = gradients(T, 12).abs()
    torch.testing.assert_close(combined(G), G.sum(dim=0))
    torch.testing.assert_close(combined(-G), -G.sum(dim=0))


def test_absent_tasks_and_zero_gradients_change_nothing():
    G = gradients(T, 12)
    wide = torch.cat([G, torch.zeros(2, 12)])
    present = torch.tensor([True] * T + [False] * 2)
    torch.testing.assert_close(combined(wide, present=present), combined(G))
    assert (combined(torch.zeros(T, 12)) == 0).all()


def test_it_has_no_choice_of_where_and_when():
    spec = GradDrop()
    assert (spec.gradient_at, spec.update_every) == ("representation", 1)
    assert set(spec.get_params()) == {"leak"}
    with pytest.raises(ValueError, match="Invalid parameter 'update_every'"):
        spec.set_params(update_every=2)
    with pytest.raises(ValueError, match="'leak' parameter of GradDrop"):
        GradDrop(leak=1.1).validate()
