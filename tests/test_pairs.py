"""The parametrisation by pairs leaves no pair out."""

from itertools import combinations, permutations, product

import pytest

from tests._pairs import pairs


@pytest.mark.parametrize("lengths", sorted(set(permutations((7, 4, 3)))), ids=str)
def test_any_two_values_meet_in_as_few_tests_as_the_longest_axes_have_pairs(lengths):
    axes = [
        [f"{name}{i}" for i in range(n)] for name, n in zip("abc", lengths, strict=True)
    ]
    cases = [case.values for case in pairs(("a", "b", "c"), *axes).args[1]]
    assert len(cases) == 7 * 4
    for k, m in combinations(range(3), 2):
        assert {(case[k], case[m]) for case in cases} == set(product(axes[k], axes[m]))


def test_ids_are_names():
    mark = pairs(("a", "b", "c"), {"one": 1}, [int], ["x"])
    assert mark.args[1][0].values == (1, int, "x")
    assert mark.args[1][0].id == "one-int-x"
