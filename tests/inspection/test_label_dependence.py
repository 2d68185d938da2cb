"""Dependence of labels equals what libraries for one pair say."""

import re
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.stats.contingency import association, crosstab
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import OneHotEncoder

import skmtl.relation._label_dependence
from skmtl.inspection import label_dependence
from skmtl.inspection._permutation import redraw_tables, swap_columns
from skmtl.relation._label_dependence import ContingencyTables, compute_correlation

METHODS = ["mutual_information", "kl", "correlation", "cooccurrence"]
SYMMETRIC = ["mutual_information", "correlation"]


def dependent_labels(n=400, missing=0.2):
    """Return tasks of 3, 5, 2 and 2 classes and two of numbers, some labels missing."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    scores = z[:, None] + rng.normal(size=(n, 6)) * [0.5, 1, 1, 2, 1, 0.5]
    frame = pd.DataFrame(scores, columns=["three", "five", "two", "rare", "x", "u"])
    for name, edges in {
        "three": [-0.5, 0.5],
        "five": [-1, -0.5, 0, 1],
        "two": [0],
        "rare": [2],
    }.items():
        frame[name] = np.searchsorted(edges, frame[name])
    return frame.mask(rng.random(frame.shape) < missing)


LABELS = dependent_labels()
BINARY = LABELS[["two", "rare"]]


def common(a, b, frame=LABELS):
    """Return the labels of two tasks in the rows that have both."""
    both = frame[[a, b]].dropna()
    return both.iloc[:, 0].to_numpy(), both.iloc[:, 1].to_numpy()


def test_mutual_information_of_classes_is_that_of_scikit_learn():
    value = label_dependence(LABELS).value
    for a, b in product(["three", "five", "two", "rare"], repeat=2):
        expected = mutual_info_score(*common(a, b))
        assert value.loc[a, b] == pytest.approx(expected, abs=1e-12)


def test_mutual_information_is_the_divergence_from_independence():
    value = label_dependence(LABELS).value
    table = crosstab(*common("three", "five")).count
    P = table / table.sum()
    product_of_margins = np.outer(P.sum(axis=1), P.sum(axis=0))
    expected = stats.entropy(P.ravel(), product_of_margins.ravel())
    assert value.loc["three", "five"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n_bins", [2, 5, 8])
def test_mutual_information_of_numbers_is_that_of_bins_of_equal_size(n_bins):
    value = label_dependence(LABELS, n_bins=n_bins).value
    frame = LABELS.copy()
    for name in ["x", "u"]:
        frame[name] = pd.qcut(frame[name], n_bins, labels=False)
    for a, b in [("x", "u"), ("x", "three"), ("u", "u")]:
        expected = mutual_info_score(*common(a, b, frame))
        assert value.loc[a, b] == pytest.approx(expected, abs=1e-12)


def test_correlation_of_numbers_and_two_classes_is_pearsons():
    names = ["two", "rare", "x", "u"]
    value = label_dependence(LABELS, "correlation").value.loc[names, names]
    assert_allclose(value, LABELS[names].corr(), atol=1e-12)  # pairwise as well
    shifted = LABELS[names] * 0.1 + 1e7
    far = label_dependence(shifted, "correlation", task_types=["regression"] * 4).value
    assert_allclose(far, LABELS[names].corr(), atol=1e-6)
    opposite = LABELS.assign(x=-LABELS["x"])
    assert label_dependence(opposite, "correlation").value.loc["x", "two"] < -0.3


def test_correlation_of_several_classes_is_cramers_v():
    value = label_dependence(LABELS, "correlation").value
    expected = association(crosstab(*common("three", "five")).count)
    assert value.loc["three", "five"] == pytest.approx(expected, rel=1e-12)
    assert value.loc["three", "three"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["x", "two"])
def test_correlation_of_numbers_and_several_classes_is_the_correlation_ratio(name):
    value = label_dependence(LABELS, "correlation").value
    classes, numbers = common("five", name)
    hot = OneHotEncoder().fit_transform(classes[:, None])
    explained = LinearRegression().fit(hot, numbers).score(hot, numbers)
    assert value.loc["five", name] == pytest.approx(explained**0.5, rel=1e-9)


def test_two_classes_have_the_same_association_as_numbers_and_as_classes():
    value = label_dependence(LABELS, "correlation").value
    expected = association(crosstab(*common("two", "five")).count)
    assert value.loc["five", "two"] == pytest.approx(expected, rel=1e-9)


def test_cooccurrence_is_the_conditional_probability():
    result = label_dependence(BINARY, "cooccurrence")
    two, rare = common("two", "rare")
    assert result.value.loc["two", "rare"] == pytest.approx(rare[two == 1].mean())
    assert result.value.loc["rare", "two"] == pytest.approx(two[rare == 1].mean())
    assert result.n_rows.loc["two", "rare"] == (two == 1).sum()
    assert result.n_rows.loc["rare", "two"] == (rare == 1).sum()
    assert_array_equal(np.diag(result.value), 1)


def test_divergence_is_that_of_the_shares_of_classes():
    Y = np.array([["a", "a"], ["b", "a"], ["a", "a"], ["b", "b"]] * 5)
    value = label_dependence(Y, "kl").value
    P, Q = [0.5, 0.5], [0.75, 0.25]
    expected = [[0, stats.entropy(P, Q)], [stats.entropy(Q, P), 0]]
    assert_allclose(value, expected, atol=1e-12)


def test_divergence_counts_what_one_task_lacks_as_half_a_label():
    Y = pd.DataFrame({"a": [0, 1] * 5 + [np.nan], "b": [0.0] * 10 + [1]})
    value = label_dependence(Y, "kl").value
    lacking = stats.entropy([0.5, 0.5], [10 / 10.5, 0.5 / 10.5])
    assert value.loc["a", "b"] == pytest.approx(lacking)
    assert value.loc["b", "a"] == pytest.approx(np.log(2))


def test_divergence_compares_common_rows_alone():
    a = [0, 1] * 10 + [0] * 30
    b = [1, 0] * 10 + [np.nan] * 30
    assert_allclose(label_dependence(np.column_stack([a, b]), "kl").value, 0)


def test_rows_are_those_with_both_labels():
    result = label_dependence(LABELS)
    present = LABELS.notna().to_numpy().astype(int)
    assert_array_equal(result.n_rows, present.T @ present)
    assert (result.n_rows.dtypes == np.int64).all()
    assert result.p_value is None


@pytest.mark.parametrize("method", METHODS)
def test_rows_that_lack_one_label_change_nothing(method):
    frame = BINARY.dropna()
    one = pd.DataFrame({"two": [0, 1] * 9, "rare": np.nan})
    more = pd.concat([frame, one], ignore_index=True)
    expected = label_dependence(frame, method).value.loc["two", "rare"]
    assert label_dependence(more, method).value.loc["two", "rare"] == pytest.approx(
        expected
    )


@pytest.mark.parametrize("method", SYMMETRIC)
def test_the_same_numbers_come_from_any_number_of_rows_at_a_time(method, monkeypatch):
    expected = label_dependence(LABELS, method).value
    monkeypatch.setattr(skmtl.relation._label_dependence, "N_ROWS", 7)
    assert_allclose(label_dependence(LABELS, method).value, expected, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_tables_of_any_library_and_arrays_give_the_same(method):
    frame = BINARY
    expected = label_dependence(frame, method, n_permutations=3, random_state=0)
    names = list(frame.columns)
    assert list(expected.value.index) == list(expected.value.columns) == names
    nested = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    marked = frame.fillna(-9).to_numpy().astype(int)
    polars = pl.DataFrame({n: frame[n].to_numpy() for n in names}, nan_to_null=True)
    for Y in (frame.to_numpy(), nested, marked, polars, frame.astype("Int64")):
        label = -9 if Y is marked else np.nan
        result = label_dependence(
            Y, method, n_permutations=3, missing_label=label, random_state=0
        )
        for key in ("value", "n_rows", "p_value"):
            assert_allclose(np.asarray(result[key]), np.asarray(expected[key]))
    assert isinstance(result.value, pd.DataFrame)
    assert label_dependence(polars, method).value.columns == names
    assert isinstance(label_dependence(nested, method).value, np.ndarray)


def test_kinds_may_be_given():
    whole = pd.DataFrame({"score": np.arange(60), "group": np.arange(60) // 20})
    value = label_dependence(whole, task_types={"score": "regression"}, n_bins=3).value
    assert value.loc["score", "group"] == pytest.approx(np.log(3))
    assert_allclose(label_dependence(whole, n_bins=3).value, value)
    as_classes = label_dependence(whole, task_types={"score": "classification"}).value
    assert as_classes.loc["score", "score"] == pytest.approx(np.log(60))


@pytest.mark.parametrize("method", SYMMETRIC)
def test_a_task_that_does_not_vary_depends_on_nothing(method):
    Y = LABELS[["three", "two", "x"]].assign(one=1, fixed=0.5, u=LABELS["u"])
    result = label_dependence(Y, method, n_permutations=5, random_state=0)
    assert_allclose(result.value.loc[["one", "fixed"]], 0, atol=1e-12)
    others = ["three", "two", "x", "u"]
    assert_array_equal(result.p_value.loc["one", others], 1)


def test_a_number_that_does_not_vary_beside_a_task_does_not_depend_on_it():
    rng = np.random.default_rng(0)
    Y = np.column_stack([rng.normal(size=40), rng.integers(3, size=40), [0.1] * 40])
    Y[:20, 2] = rng.normal(size=20)
    Y[:20, :2] = np.nan
    value = label_dependence(Y, "correlation").value
    assert_array_equal(value[2], [0, 0, 1])


@pytest.mark.filterwarnings("error")
def test_the_scale_of_numbers_is_no_matter():
    rng = np.random.default_rng(0)
    labels = [*rng.normal(size=(2, 30)), rng.integers(0, 3, size=30)]
    far = [np.ldexp(labels[0], 900), np.ldexp(labels[1], -900), labels[2]]
    expected, found = (compute_correlation(z, [0, 0, 3]) for z in (labels, far))
    assert abs(expected).min() > 0.01
    assert_array_equal(found, expected)


def test_one_task_is_a_table_of_its_own():
    assert label_dependence([0, 1] * 10).value == pytest.approx(np.log(2))


@pytest.mark.parametrize("method", METHODS)
def test_chance_is_told_from_dependence(method):
    rng = np.random.default_rng(1)
    a = rng.integers(2, size=300)
    same = np.where(rng.random(300) < 0.8, a, 1 - a)
    never = (rng.random(300) < 0.1).astype(int)
    chance = rng.integers(2, size=300)
    Y = pd.DataFrame({"a": a, "same": same, "chance": chance, "never": never})
    result = label_dependence(Y, method, n_permutations=99, random_state=0)
    p = result.p_value
    assert np.isnan(np.diag(p)).all()
    # Shares of classes differ from those of "never", labels depend on "same".
    assert p.loc["a", "never" if method == "kl" else "same"] == 0.01
    assert p.loc["a", "chance"] > 0.05
    assert p.loc["a", "same" if method == "kl" else "never"] > 0.05
    again = label_dependence(Y, method, n_permutations=99, random_state=0)
    pd.testing.assert_frame_equal(again.p_value, p)
    if method != "kl":
        assert_allclose(p, p.T)


@pytest.mark.parametrize("n_cells", [16 * 1000, 2**22])
def test_p_value_of_cooccurrence_is_the_exact_one(n_cells, monkeypatch):
    monkeypatch.setattr("skmtl.inspection._permutation.N_CELLS", n_cells)
    Y = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [12, 6, 5, 9], axis=0)
    result = label_dependence(
        Y, "cooccurrence", n_permutations=4999, min_rows=1, random_state=0
    )
    both = stats.hypergeom(32, 14, 15)
    k = np.arange(15)
    as_far = abs(k - both.mean()) >= abs(9 - both.mean()) - 1e-9
    assert result.p_value[0, 1] == pytest.approx(both.pmf(k)[as_far].sum(), abs=0.02)


def test_p_value_of_the_divergence_is_the_exact_one():
    Y = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [12, 4, 10, 9], axis=0)
    result = label_dependence(Y, "kl", n_permutations=4999, random_state=0)
    swaps = stats.binom(14, 0.5)  # rows with two labels, (1, 0) after swapping
    k = np.arange(15)
    P, Q = (9 + k) / 35, (9 + 14 - k) / 35
    divergence = stats.entropy([P, 1 - P], [Q, 1 - Q])
    expected = swaps.pmf(k)[divergence >= divergence[10] - 1e-9].sum()
    assert result.p_value[0, 1] == pytest.approx(expected, abs=0.02)


def test_p_value_of_a_correlation_is_close_to_that_of_pearsons_test():
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    Y = np.column_stack([x, 0.2 * x + rng.normal(size=60)])
    result = label_dependence(Y, "correlation", n_permutations=999, random_state=0)
    assert result.p_value[0, 1] == pytest.approx(stats.pearsonr(*Y.T).pvalue, abs=0.04)


def joint():
    frame = LABELS[["three", "five", "two"]]
    codes = [frame[name].fillna(-1).to_numpy().astype(int) for name in frame]
    return ContingencyTables.from_labels(codes, [3, 5, 2])


def test_drawn_tables_keep_the_margins_and_vary_around_independence():
    observed = joint()
    drawn = redraw_tables(observed, 600, np.random.default_rng(0))
    assert drawn.counts.min() >= 0
    assert_array_equal(drawn.counts, drawn.counts.swapaxes(1, 2))
    itself = drawn.of_task[:, None] == drawn.of_task
    expected = np.where(itself[:, drawn.starts], 0, observed.margins)
    assert_array_equal(drawn.margins, [expected] * 600)
    expected = np.where(itself, 0, observed.expected)
    assert_allclose(drawn.counts.mean(axis=0), expected, atol=1)
    a, b = slice(0, 3), slice(3, 8)  # the pair of three and five classes
    n = observed.n_rows[0, 1]
    p, q = observed.margins[a, 1] / n, observed.margins[b, 0] / n
    variance = n**2 / (n - 1) * np.outer(p * (1 - p), q * (1 - q))
    assert_allclose(drawn.counts[:, a, b].var(axis=0), variance, rtol=0.3)


def test_swapped_tables_keep_rows_whose_labels_are_equal():
    codes = [np.array([0, 0, 1, 2, 2, 1, -1]), np.array([0, 1, 1, 0, 0, 2, 1])]
    observed = ContingencyTables.from_labels(codes, [3, 3])
    drawn = swap_columns(observed, 50, np.random.default_rng(0))
    pair, other = drawn.counts[:, :3, 3:], drawn.counts[:, 3:, :3]
    assert_array_equal(pair, other.swapaxes(1, 2))
    table = observed.counts[:3, 3:]
    assert_array_equal(pair + pair.swapaxes(1, 2), [table + table.T] * 50)
    assert_array_equal(pair[:, [0, 1, 2], [0, 1, 2]], [np.diag(table)] * 50)
    assert set(pair[:, 0, 2].astype(int)) == {0, 1, 2}


@pytest.mark.parametrize("method", METHODS)
def test_pairs_with_few_rows_are_named_in_one_warning(method):
    frame = BINARY.dropna().head(100).reset_index(drop=True)
    frame = frame.assign(late=frame["two"])
    frame.loc[:90, "late"] = np.nan
    message = (
        "Fewer than min_rows=10 rows tell how these tasks depend on each other: 'two' "
        "and 'late', 'rare' and 'late'. Their value is NaN; lower min_rows, or leave "
        "tasks out."
    )
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        result = label_dependence(frame, method, n_permutations=2, random_state=0)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert result.value[["late"]].isna().all().all()
    assert result.p_value[["late"]].isna().all().all()
    assert np.isfinite(result.value.loc["two", "rare"])
    assert np.isfinite(label_dependence(frame, method, min_rows=1).value).all().all()


def test_a_warning_names_three_pairs_and_counts_the_others():
    Y = np.full((20, 5), np.nan)
    Y[np.arange(20), np.arange(20) % 5] = np.arange(20) // 5 % 2
    message = "'task0' and 'task1', 'task0' and 'task2', 'task0' and 'task3' and 7 more"
    with pytest.warns(UserWarning, match=message):
        result = label_dependence(Y, min_rows=4)
    assert_array_equal(np.isnan(result.value), ~np.eye(5, dtype=bool))


def test_a_warning_names_one_direction_where_the_other_has_rows():
    Y = np.repeat([[1, 0], [1, 1], [0, 0]], [20, 5, 20], axis=0)
    with pytest.warns(UserWarning, match=r"each other: 'task1' and 'task0'\. Their"):
        value = label_dependence(Y, "cooccurrence").value
    assert_allclose(value, [[1, 0.2], [np.nan, np.nan]])


def test_pairs_without_rows_have_no_value_whatever_is_asked_for():
    Y = [[0, None], [1, None], [None, 0], [None, 1]]
    for method in METHODS:
        with pytest.warns(UserWarning, match="min_rows=1 rows"):
            assert np.isnan(label_dependence(Y, method, min_rows=1).value[0, 1])


def test_a_task_of_one_class_is_never_positive():
    Y = np.column_stack([[0] * 30, [0, 1] * 15])
    with pytest.warns(UserWarning, match="'task0' and 'task1'"):
        value = label_dependence(Y, "cooccurrence").value
    assert_allclose(value, [[np.nan, np.nan], [0, 1]])


@pytest.mark.parametrize(
    ("Y", "method", "message"),
    [
        (
            [[0, "a"], [1, "b"]] * 9,
            "kl",
            (
                "The 'method' parameter of label_dependence can be 'kl' only where all "
                "tasks have the same classes. Got task 'task0' with classes [0, 1] and "
                "task 'task1' with classes ['a', 'b']: 'mutual_information' takes any "
                "labels."
            ),
        ),
        (
            pd.DataFrame({"a": [0, 1, 2] * 9, "b": [0.5, 1.5, 2] * 9}),
            "kl",
            "task 'a' with classes [0, 1, 2] and task 'b' with numbers: 'mutual_info",
        ),
        (
            [[0, 0], [1, 1], [0, 2]] * 9,
            "cooccurrence",
            (
                "can be 'cooccurrence' only where all tasks have two classes. Got task "
                "'task1' with classes [0, 1, 2]: 'mutual_information' takes any labels."
            ),
        ),
        ([[0, 0.5], [1, 1]], "cooccurrence", "Got task 'task1' with numbers: 'mutual"),
        ([[0, None], [1, None]], "kl", "Task 'task1' has no labelled row: give it"),
        (None, "kl", "y cannot be None"),
        ([[0, 1]] * 9, "entropy", "The 'method' parameter of label_dependence must be"),
    ],
)
def test_labels_that_a_method_cannot_take_are_refused(Y, method, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        label_dependence(Y, method)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_bins": 1}, "The 'n_bins' parameter of label_dependence must be an int"),
        ({"min_rows": 0}, "The 'min_rows' parameter of label_dependence must be an"),
        ({"n_permutations": -1}, "The 'n_permutations' parameter of label_dependence"),
        ({"random_state": "a"}, "The 'random_state' parameter of label_dependence"),
        ({"task_types": ["regression"]}, "The 'task_types' parameter must have one"),
        ({"task_types": 3}, "The 'task_types' parameter of label_dependence must be"),
    ],
)
def test_bad_parameters_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        label_dependence(BINARY, **settings)
