"""GradNorm: gradients of tasks get lengths that follow their pace."""

import pytest
import torch

from skmtl.weighting import GradNorm

NORMS = torch.tensor([1.0, 4.0, 0.25, 2.0]).double()
LOSSES = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()


def built(alpha, start=LOSSES, norms=NORMS):
    module = GradNorm(alpha=alpha).build(len(norms)).double()
    if start is not None:
        module.after_epoch(start)
    module.from_gramian(torch.diag(norms**2), LOSSES, None)
    return module


def lengths_after_training(module, losses, present=None):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for step in range(800):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.99**step
        optimizer.zero_grad()
        module.own_loss(losses, present).backward()
        optimizer.step()
    weights = module.from_gramian(torch.diag(module.norms**2), losses, present)
    return weights * module.norms


def test_weights_are_equal_at_the_start():
    weights = built(1.5).from_gramian(torch.diag(NORMS), LOSSES, None)
    torch.testing.assert_close(weights, torch.ones(4).double())
    assert not weights.requires_grad


def test_without_pull_all_gradients_become_equally_long():
    lengths = lengths_after_training(built(0), LOSSES * torch.rand(4))
    torch.testing.assert_close(lengths, lengths.mean().expand(4), rtol=1e-2, atol=0)


def test_gradients_of_slow_tasks_become_longer_as_the_paper_says():
    left = torch.tensor([0.2, 0.4, 0.6, 0.8]).double()  # of the loss at the start
    lengths = lengths_after_training(built(1.0), LOSSES * left)
    torch.testing.assert_close(
        lengths / lengths.mean(), left / left.mean(), rtol=2e-2, atol=0
    )
    gently = lengths_after_training(built(0.5), LOSSES * left)
    assert (gently.diff() > 0).all()
    assert gently[3] / gently[0] < lengths[3] / lengths[0]


def test_gradient_of_the_logits_is_that_of_the_paper_s_loss():
    module = built(1.5)
    with torch.no_grad():
        module.logits.copy_(torch.tensor([0.3, -0.2, 0.1, 0.0]))
    losses = LOSSES * torch.tensor([0.5, 0.9, 0.7, 0.2])
    module.own_loss(losses, None).backward()

    logits = module.logits.detach().clone().requires_grad_()
    lengths = 4 * logits.softmax(dim=0) * NORMS
    ratio = losses / LOSSES
    goal = (lengths.mean() * (ratio / ratio.mean()) ** 1.5).detach()
    ((lengths - goal).abs().sum() / NORMS.mean()).backward()
    torch.testing.assert_close(module.logits.grad, logits.grad)


def test_the_start_is_the_first_epoch_in_which_a_task_has_labels():
    module = built(1.0, start=torch.tensor([1.0, torch.nan, 3.0, torch.nan]).double())
    module.after_epoch(torch.tensor([9.0, 8.0, 7.0, torch.nan]).double())
    expected = torch.tensor([1.0, 8.0, 3.0, torch.nan]).double()
    torch.testing.assert_close(module.start, expected, equal_nan=True)
    assert module.own_loss(LOSSES, None).isfinite()


def test_until_then_only_lengths_count():
    unknown, known = built(1.0, start=None), built(1.0, start=LOSSES)
    torch.testing.assert_close(
        unknown.own_loss(7 * LOSSES.flip(0), None), known.own_loss(LOSSES, None)
    )


def test_absent_tasks_take_no_part():
    present = torch.tensor([True, True, False, True])
    few, wide = (
        built(1.0, LOSSES[present], NORMS[present]),
        built(1.0, LOSSES, NORMS * present),
    )
    losses = LOSSES * torch.tensor([0.5, 0.9, 0.0, 0.2])
    alone = few.own_loss(losses[present], None)
    torch.testing.assert_close(wide.own_loss(losses, present), alone)
    # It came back, but its gradient has not been looked at since.
    back = losses + ~present
    torch.testing.assert_close(wide.own_loss(back, None), alone)
    everyone = torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(wide.own_loss(back, everyone), alone)
    wide.own_loss(losses, present).backward()
    alone.backward()
    torch.testing.assert_close(wide.logits.grad[present], few.logits.grad)
    assert wide.logits.grad[2].abs() < 1e-12


def test_without_gradients_there_is_nothing_to_learn():
    module = GradNorm().build(3)
    loss = module.own_loss(torch.ones(3), None)
    loss.backward()
    assert loss == 0
    assert (module.logits.grad == 0).all()
    nobody = torch.zeros(4, dtype=torch.bool)
    assert built(1.0).own_loss(0 * LOSSES, nobody) == 0


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_losses_is_no_learning_rate(scale):
    module, scaled = built(1.0), built(1.0, scale * LOSSES, scale * NORMS)
    losses = LOSSES * torch.tensor([0.5, 0.9, 0.1, 0.2])
    torch.testing.assert_close(
        scaled.own_loss(scale * losses, None), module.own_loss(losses, None)
    )
