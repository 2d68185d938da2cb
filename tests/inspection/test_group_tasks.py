"""Groups of tasks are the best ones, and the true ones where there are any."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import make_regression

from skmtl import MultiTaskRegressor
from skmtl.inspection import group_tasks
from skmtl.sharing import Grouped
from skmtl.sharing._task_grouping import N_EXACT, _log_partitions


def partitions(tasks):
    """Yield every partition of a list."""
    if not tasks:
        yield []
        return
    first, *rest = tasks
    for partition in partitions(rest):
        for i, group in enumerate(partition):
            yield [*partition[:i], [first, *group], *partition[i + 1 :]]
        yield [[first], *partition]


def score(affinity, groups):
    """Return the sum over tasks of the mean affinity from the others of the group."""
    return sum(
        np.mean([affinity[i, j] for i in group if i != j])
        for group in groups
        if len(group) > 1
        for j in group
    )


def block_affinity(groups, noise=0.0, between=0.0, seed=0):
    """Return affinities of one in groups and less between, and the groups."""
    n = sum(map(len, groups))
    affinity = between + noise * np.random.default_rng(seed).normal(size=(n, n))
    for group in groups:
        affinity[np.ix_(group, group)] += 1 - between
    return affinity


BLOCKS = {
    "two": [[0, 2, 5], [1, 3, 4]],
    "three": [[0, 8], [1, 2, 4, 6], [3, 5, 7]],
    "one": [[0, 1, 2, 3, 4, 5, 6, 7]],
    "alone": [[0, 3, 4, 6], [1], [2], [5], [7]],
    "many": [list(range(i, 60, 6)) for i in range(6)],
    "many_uneven": [list(range(30)), [*range(30, 38), 59], list(range(38, 59))],
}
blocks = pytest.mark.parametrize("groups", BLOCKS.values(), ids=BLOCKS.keys())


@blocks
def test_blocks_are_found(groups):
    affinity = block_affinity(groups)
    assert group_tasks(affinity) == groups
    assert group_tasks(affinity + 5) == groups  # whatever all tasks have in common
    if groups is not BLOCKS["alone"]:  # where many groupings are as good
        assert group_tasks(affinity, len(groups)) == groups


@blocks
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.sampled(5)
def test_blocks_are_found_under_noise(groups, seed):
    affinity = block_affinity(groups, noise=0.15, between=0.2, seed=seed)
    assert group_tasks(affinity) == groups
    if groups is not BLOCKS["alone"]:
        assert group_tasks(affinity, len(groups)) == groups


@pytest.mark.parametrize("n_tasks", [6, 7])
@pytest.mark.parametrize("seed", range(3))
def test_the_exact_search_is_as_good_as_trying_all(n_tasks, seed):
    affinity = np.random.default_rng(seed).normal(size=(n_tasks, n_tasks))
    best = dict.fromkeys(range(1, n_tasks + 1), -np.inf)
    for groups in partitions(list(range(n_tasks))):
        best[len(groups)] = max(best[len(groups)], score(affinity, groups))
    for n_groups, expected in best.items():
        found = group_tasks(affinity, n_groups)
        assert len(found) == n_groups
        assert sorted(t for group in found for t in group) == list(range(n_tasks))
        assert score(affinity, found) == pytest.approx(expected, abs=1e-12)


def squared_error(affinity, groups):
    """Return the error of one mean in groups and one between them."""
    of_task = np.empty(len(affinity))
    for number, group in enumerate(groups):
        of_task[group] = number
    i, j = np.triu_indices(len(affinity), 1)
    mutual = (affinity + affinity.T)[i, j] / 2
    same = of_task[i] == of_task[j]
    if same.all() or not same.any() or mutual[same].mean() <= mutual[~same].mean():
        return np.inf
    return sum(len(m) * m.var() for m in (mutual[same], mutual[~same]))


@pytest.mark.parametrize("seed", range(5))
def test_the_number_of_groups_is_that_of_the_closest_two_values(seed):
    affinity = block_affinity(BLOCKS["two"], noise=0.3, seed=seed)
    every = partitions(list(range(6)))
    expected = min(every, key=lambda groups: squared_error(affinity, groups))
    assert group_tasks(affinity) == sorted(map(sorted, expected))


@pytest.mark.parametrize("seed", [8, 15])
def test_few_tasks_are_searched_where_clustering_errs(seed):
    groups = [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]]
    affinity = block_affinity(groups, noise=0.5, seed=seed)
    assert group_tasks(affinity) == groups


@pytest.mark.parametrize("n_tasks", [6, 10, 30])
def test_chance_makes_no_groups(n_tasks):
    rng = np.random.default_rng(0)
    together = [list(range(n_tasks))]
    for _ in range(5):
        noise = rng.normal(size=(n_tasks, n_tasks))
        assert group_tasks(1 + 0.1 * noise) == together
        assert group_tasks(0.1 * noise - 1) == [[t] for t in range(n_tasks)]


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 20])
def test_equal_affinities_keep_tasks_together_unless_they_harm(n_tasks):
    affinity = np.full((n_tasks, n_tasks), 0.1)
    alone = [[t] for t in range(n_tasks)]
    assert group_tasks(affinity) == [list(range(n_tasks))]
    assert group_tasks(-affinity) == (alone if n_tasks > 1 else [[0]])
    assert group_tasks(affinity, n_tasks) == alone
    assert group_tasks(affinity, 1) == [list(range(n_tasks))]


def test_a_group_that_harms_itself_is_dissolved():
    affinity = block_affinity([[0, 1, 2], [3, 4, 5]]) - 0.5
    assert group_tasks(affinity) == [[0, 1, 2], [3, 4, 5]]
    affinity[3:, 3:] = -0.1
    assert group_tasks(affinity) == [[0, 1, 2], [3], [4], [5]]


def test_both_directions_count():
    affinity = np.zeros((3, 3))
    affinity[0, 1], affinity[1, 0] = 3, -3  # what one wins the other loses
    affinity[2, 1] = 1
    assert group_tasks(affinity, 2) == [[0], [1, 2]]
    assert group_tasks(affinity.T, 2) == [[0], [1, 2]]


@pytest.mark.parametrize("n_tasks", [8, 20])
@pytest.mark.parametrize("triangle", [np.tril, np.triu])
def test_tasks_belong_together_where_only_one_helps_the_other(n_tasks, triangle):
    groups = [list(range(g, n_tasks, 2)) for g in range(2)]
    affinity = triangle(block_affinity(groups, noise=0.05))
    assert group_tasks(affinity) == group_tasks(affinity, 2) == groups


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_groups", ["auto", 2])
@pytest.mark.parametrize("exponent", [-900, 1023])
@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.sampled(3)
def test_the_scale_is_no_matter(name, exponent, n_groups):
    affinity = block_affinity(BLOCKS[name], noise=0.1)
    affinity /= 2 * np.abs(affinity).max()
    found = group_tasks(np.ldexp(affinity, exponent), n_groups)
    assert found == group_tasks(affinity, n_groups)


def test_the_diagonal_counts_for_nothing():
    affinity = block_affinity(BLOCKS["two"], noise=0.1)
    np.fill_diagonal(affinity, np.nan)
    before = affinity.copy()
    assert group_tasks(affinity) == BLOCKS["two"]
    np.testing.assert_array_equal(affinity, before)


def test_more_tasks_than_can_be_searched_are_clustered():
    for n_tasks in (N_EXACT, N_EXACT + 1):
        groups = [list(range(g, n_tasks, 3)) for g in range(3)]
        affinity = block_affinity(groups, noise=0.1)
        assert group_tasks(affinity) == group_tasks(affinity, 3) == groups


def test_numbers_of_partitions_are_bells():
    found = [round(np.exp(_log_partitions(n))) for n in range(1, 8)]
    assert found == [1, 2, 5, 15, 52, 203, 877]


def test_named_tasks_are_grouped_by_name_as_sharing_takes_them():
    names = ["a", "b", "c", "d"]
    affinity = block_affinity([[0, 2], [1, 3]])
    frame = pd.DataFrame(affinity, index=names, columns=names)
    groups = group_tasks(frame)
    assert groups == [["a", "c"], ["b", "d"]]
    assert group_tasks(pl.DataFrame(affinity, schema=names)) == groups
    assert group_tasks(affinity.tolist()) == [[0, 2], [1, 3]]
    X, Y = make_regression(20, n_features=3, n_targets=4, random_state=0)
    est = MultiTaskRegressor(Grouped(groups), max_iter=1, n_estimators=1)
    est.fit(X, pd.DataFrame(Y, columns=names))
    assert est.module_.sharing.group_of_task.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("affinity", "message"),
    [
        (np.ones((2, 3)), "have one row and one column per task. Got shape (2, 3)."),
        (np.ones(4), "have one row and one column per task. Got shape (4,)."),
        (np.ones((0, 0)), "have one row and one column per task. Got shape (0, 0)."),
        ([["a", "b"], ["c", "d"]], "hold numbers, one row and column per task: could"),
        (None, "have one row and one column per task. Got shape ()."),
        (
            [[0, np.nan], [1, 0]],
            (
                "be finite. Got nan from task 0 to task 1: measure that pair on more "
                "rows, or put 0 for no help."
            ),
        ),
        ([[0, 1], [-np.inf, 0]], "be finite. Got -inf from task 1 to task 0: measure"),
        (
            pd.DataFrame([[0, 1], [1, 0]], index=["a", "b"], columns=["b", "a"]),
            (
                "have the same tasks as index and as columns, in the same order. Got "
                "the index ['a', 'b'] and the columns ['b', 'a']."
            ),
        ),
    ],
)
def test_affinities_that_cannot_be_are_refused(affinity, message):
    expected = f"The 'affinity' parameter of group_tasks must {message}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        group_tasks(affinity)


@pytest.mark.parametrize(
    ("n_groups", "message"),
    [
        (4, "must be at most the number of tasks, 3. Got 4."),
        (0, "must be"),
        ("few", "must be"),
    ],
)
def test_numbers_of_groups_that_cannot_be_are_refused(n_groups, message):
    expected = f"The 'n_groups' parameter of group_tasks {message}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        group_tasks(np.ones((3, 3)), n_groups)
