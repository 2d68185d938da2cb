"""Weightings in which one task counts most."""

import numpy as np
import pytest
import torch

from skmtl.weighting import (
    PCD,
    GradientWeightingModule,
    PrimaryTask,
    TaskLabels,
)

NAMES = ["price", "size", "age"]
LABELS = [TaskLabels(name, None, np.zeros(3), None) for name in NAMES]
named = pytest.mark.parametrize("cls", [PrimaryTask, PCD])


@named
@pytest.mark.parametrize("task", ["age", 2])
def test_the_primary_task_is_given_by_name_or_number(cls, task):
    spec = cls(task=task)
    found = spec.validate().for_labels(LABELS)
    assert found.task == 2
    assert spec.task == task
    assert found.build(3) is not None


@named
@pytest.mark.parametrize("task", ["weight", 3, -1])
def test_an_unknown_primary_task_is_refused(cls, task):
    match = rf"'task' parameter of {cls.__name__} names the unknown task .*\['price'"
    with pytest.raises(ValueError, match=match):
        cls(task=task).for_labels(LABELS)
    with pytest.raises(ValueError, match=f"'task' parameter of {cls.__name__}"):
        cls(task=task).build(3)


def test_the_others_halve_each_half_life():
    module = PrimaryTask(1, half_life=2).build(3).double()
    assert not isinstance(module, GradientWeightingModule)
    losses = torch.ones(3).double()
    for epoch in range(6):
        other = 0.5 ** (epoch / 2)
        expected = torch.tensor([other, 1.0, other]).double()
        torch.testing.assert_close(module(losses, None), expected)
        module.after_epoch(losses)
    module = PrimaryTask().build(3)
    for _ in range(10):
        module.after_epoch(losses)
    torch.testing.assert_close(module(losses, None), torch.tensor([1.0, 0.5, 0.5]))


def test_the_others_weigh_what_their_cosine_is():
    J = torch.tensor([[3.0, 4.0], [2.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    module = PrimaryTask(1, mode="cosine").build(4)
    weights = module.from_gramian(J @ J.T, torch.ones(4), None)
    torch.testing.assert_close(weights, torch.tensor([0.6, 1.0, 0.0, 0.0]))


@pytest.mark.parametrize("spec", [PrimaryTask(3, mode="cosine"), PCD(3)], ids=repr)
def test_without_the_primary_task_the_others_weigh_the_same(spec):
    J = torch.tensor([[3.0, 4.0], [2.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    present = torch.tensor([True, True, True, False])
    weights = spec.build(4).from_gramian(J @ J.T, torch.ones(4), present)
    torch.testing.assert_close(weights[:3], torch.ones(3))


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        (PrimaryTask(mode="gate"), "'mode' parameter of PrimaryTask"),
        (PrimaryTask(half_life=0), "'half_life' parameter of PrimaryTask"),
        (PrimaryTask(task=1.5), "'task' parameter of PrimaryTask"),
        (PrimaryTask(mode="cosine", half_life=3), "no use for half_life=3 with"),
        (PrimaryTask(update_every=2), "no use for .* update_every=2 with mode='decay'"),
        (PrimaryTask(gradient_at="parameters"), "no use for gradient_at='parameters'"),
    ],
    ids=repr,
)
def test_bad_settings_are_refused(spec, match):
    with pytest.raises(ValueError, match=match):
        spec.validate()


def test_settings_of_a_mode_are_for_it():
    PrimaryTask(mode="cosine", gradient_at="parameters", update_every=3).validate()
    PrimaryTask(half_life=3).validate()
