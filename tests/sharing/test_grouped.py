"""Facts of sharing inside groups."""

import numpy as np
import pandas as pd
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import Grouped
from tests._networks import (
    ENCODERS,
    REPLICABLE,
    SAME_STEPS,
    Prepared,
    inputs,
    plain_mlp,
    shape_of,
    table,
)
from tests.sharing import test_all as contract

T = 3
NAMES = ["a", "b", "c"]
PARTS = {"pair": [[2, 0], [1]], "singletons": [[0], [1], [2]], "all": [[0, 1, 2]]}

parts = pytest.mark.parametrize("groups", PARTS.values(), ids=PARTS)
encoders = pytest.mark.parametrize("encoder", REPLICABLE.values(), ids=REPLICABLE)


def fitted(cls, sharing, y, **settings):
    X, _ = table()
    encoder = Prepared(plain_mlp((16, 8)))
    return cls(sharing, encoder=encoder, batch_size=20, **SAME_STEPS, **settings).fit(
        X, y
    )


def labels():
    _, Z = table()
    return np.column_stack([Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1]), Z[:, 2] > 1])


@pytest.mark.parametrize(
    ("groups", "same"),
    [(None, "hard"), ([[0, 1, 2]], "hard"), ([[0], [1], [2]], "independent")],
)
def test_fits_as_hard_in_one_group_and_as_independent_in_singletons(groups, same):
    X, _ = table()
    found = fitted(MultiTaskClassifier, Grouped(groups), labels())
    expected = fitted(MultiTaskClassifier, same, labels())
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_)
    for a, b in zip(found.predict_proba(X), expected.predict_proba(X), strict=True):
        np.testing.assert_allclose(a, b)


@pytest.mark.parametrize("name", [n for n in ENCODERS if "module" not in n])
def test_tasks_of_a_group_read_one_encoder(name):
    encoder = Prepared(ENCODERS[name])
    shape, X = shape_of(encoder), inputs(9, encoder=encoder)
    module = Grouped([[2, 0], [1]]).build(encoder, shape, T).double().eval()
    features, _ = module(X)
    for t, group in enumerate([0, 1, 0]):
        alone = encoder.set_params(first=group).build(shape, 1).double().eval()
        torch.testing.assert_close(features[:, t], alone(X)[0])


def test_what_one_group_is_told_changes_no_other():
    X, Y = table()
    settings = {
        **SAME_STEPS,
        "sharing": Grouped([[0, 2], [1]]),
        "encoder": plain_mlp((16,)),
    }
    before = MultiTaskRegressor(**settings).fit(X, Y).predict(X)
    Y[:, 0] = Y[::-1, 0]
    after = MultiTaskRegressor(**settings).fit(X, Y).predict(X)
    np.testing.assert_allclose(after[:, 1], before[:, 1])
    assert not np.allclose(after[:, 2], before[:, 2])


@parts
@encoders
@pytest.mark.sampled(2)
def test_groups_keep_the_contract(groups, encoder):
    sharing = Grouped(groups)
    contract.test_shared_parameters_are_those_that_autograd_finds_to_be(
        sharing, encoder
    )
    contract.test_shared_features_are_what_several_tasks_depend_on(sharing, encoder)
    contract.test_every_parameter_gets_a_gradient(sharing, encoder)
    five = Grouped([*groups, [3, 4]])
    contract.test_three_stacked_networks_train_as_three_separate_ones(five, encoder)


@pytest.mark.parametrize(
    "groups", [[["c", "a"], ["b"]], [[2, "a"], [1]], ((2, 0), np.array(["b"]))]
)
def test_names_and_numbers_stand_for_tasks(groups):
    X, Z = table()
    frame = pd.DataFrame(Z, columns=NAMES)
    est = MultiTaskRegressor(Grouped(groups), max_iter=1, n_estimators=1).fit(X, frame)
    assert est.module_.sharing.group_of_task.tolist() == [0, 1, 0]


def test_an_integer_is_a_name_before_it_is_a_number():
    X, Z = table()
    frame = pd.DataFrame(Z, columns=[2, 1, 10])
    est = MultiTaskRegressor(Grouped([[2, 10], [1]]), max_iter=1, n_estimators=1).fit(
        X, frame
    )
    assert est.module_.sharing.group_of_task.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([["a", "b"]], r"of Grouped must hold every task once, but misses \['c'\]\.$"),
        ([["a", "b"], ["c", 1]], r"every task once, but repeats \['b'\]\.$"),
        ([["a"], ["a"]], r"but misses \['b', 'c'\] and repeats \['a'\]\.$"),
        ([["a", "b"], ["d"]], "of Grouped names the unknown task 'd'. The tasks are"),
        ([[0, 1], [3]], "names the unknown task 3"),
        ([[0, 1], [-1]], "names the unknown task -1"),
        ([[0, 1, 2], []], r"at least one task, such as .* Got the group \[\]"),
        (["ab", "c"], "each a sequence of at least one task, .* Got the group 'ab'"),
        ([0, 1, 2], "each a sequence of at least one task, .* Got the group 0"),
        ("abc", "The 'groups' parameter of Grouped must be an instance of"),
    ],
)
def test_bad_groups_are_refused_before_training(groups, message):
    X, Z = table()
    est = MultiTaskRegressor(Grouped(groups), n_estimators=1)
    with pytest.raises(ValueError, match=message):
        est.fit(X, pd.DataFrame(Z, columns=NAMES))
