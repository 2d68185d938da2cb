"""The picture of a comparison shows each candidate once, and can be read in grey."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from skmtl.model_selection import SharingComparison, SharingComparisonDisplay

# Against the first: better, worse, as good, and a little better in the mean only.
OFFSETS = np.array([0.0, 0.05, -0.05, 0.0, 0.001])
NAMES = ["alone", "hard", "forest $x", "soft", "a name that is far too long " * 3]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def comparison(k=5, **settings):
    noise = np.random.default_rng(0).normal(scale=0.004, size=(k, 6, 4))
    values = {
        "names": NAMES[:k],
        "task_names": list("wxyz"),
        "baseline": "alone",
        "scores": 0.7 + OFFSETS[:k, None, None] + noise,
        "fit_seconds": np.ones((k, 6)),
        "predict_seconds": np.ones((k, 6)),
        "n_parameters": np.ones(k),
        "test_ratio": 0.2,
        "confidence": 0.95,
    }
    return SharingComparison(**{**values, **settings})


def test_candidates_are_marked_by_how_they_compare_in_the_order_of_ranks():
    found = comparison()
    display = found.plot()
    assert display.order_ == np.argsort(found.mean_ranks).tolist()
    places = {mark.get_label(): mark.get_offsets() for mark in display.marks_}
    assert sorted(places) == ["baseline", "better", "no clear difference", "worse"]
    lines = {kind: sorted(place[:, 1].tolist()) for kind, place in places.items()}
    order = display.order_
    assert lines["better"] == [order.index(1)] == [0]
    assert lines["worse"] == [order.index(2)] == [4]
    assert lines["baseline"] == [order.index(0)]
    assert lines["no clear difference"] == sorted([order.index(3), order.index(4)])
    assert places["better"][0, 0] == pytest.approx(found.mean_scores[1])
    shapes = {mark.get_label(): len(mark.get_paths()[0]) for mark in display.marks_}
    filled = {
        mark.get_label(): not np.allclose(mark.get_facecolor(), 1)
        for mark in display.marks_
    }
    assert len({*zip(shapes.values(), filled.values(), strict=True)}) >= 3
    assert not filled["no clear difference"]
    for place, line in enumerate(display.intervals_):
        expected = found.mean_scores_interval[order[place]]
        np.testing.assert_allclose(line.get_xdata(), expected)


def test_the_bar_is_the_critical_difference_from_the_best_rank():
    found = comparison()
    display = SharingComparisonDisplay.from_comparison(found)
    ranks = found.mean_ranks[display.order_]
    low, high = display.bar_.get_xdata()
    assert low == ranks[0] == found.mean_ranks.min()
    assert high - low == pytest.approx(found.critical_difference)
    np.testing.assert_allclose(display.rank_marks_.get_offsets()[:, 0], ranks)
    faces = display.rank_marks_.get_facecolor()
    filled = [not np.allclose(face, 1) for face in faces]
    assert filled == (ranks <= high).tolist()
    assert {True, False} == set(filled)


def test_a_single_candidate_has_no_critical_difference():
    display = comparison(1).plot()
    assert display.bar_ is None
    assert [mark.get_label() for mark in display.marks_] == ["baseline"]


def test_names_are_shown_as_they_are_or_shortened():
    display = comparison().plot()
    shown = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    assert shown[-1] == "forest $x"
    assert max(map(len, shown)) <= 36
    display.figure_.canvas.draw()


def test_it_takes_the_place_of_the_axes_given_and_draws_again():
    _, axes = plt.subplots(2)
    display = comparison().plot(axes[1])
    assert display.figure_ is axes[1].figure
    assert not axes[1].axison
    assert len(axes[1].figure.axes) == 4
    again = display.plot()
    assert again is display
    assert display.figure_ is not axes[1].figure


def test_a_candidate_without_scores_stands_last():
    found = comparison()
    found.scores[1] = np.nan
    display = found.plot()
    assert display.order_[-1] == 1
    display.figure_.canvas.draw()


def test_something_else_is_refused():
    with pytest.raises(ValueError, match="must be what compare_sharing returns"):
        SharingComparisonDisplay.from_comparison({"a": 1})


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="from_comparison needs matplotlib"):
        comparison().plot()
