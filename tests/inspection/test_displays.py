"""Pictures show what they should, in the order they should, and can be read."""

import sys
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from scipy.sparse import csr_matrix
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl._core.history import TrainingHistory, mean_cosines
from skmtl._drawing import HELPS, HURTS, shorten_names
from skmtl.encoder import MLP
from skmtl.inspection import (
    GateUsageDisplay,
    SharingGainDisplay,
    TaskAffinityDisplay,
    TaskGraphDisplay,
    TaskWeightDisplay,
    TrainingCurveDisplay,
    sharing_gain,
)

AFFINITY = np.array([[9, 0.1, 0.9], [0.2, 9, -0.15], [0.8, 0.0, 9]])
FROM_ESTIMATOR = [TrainingCurveDisplay, TaskWeightDisplay, GateUsageDisplay]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def grouped(n_tasks, n_groups=2):
    """Return affinities of tasks of which every n_groups-th is of the same group."""
    rng = np.random.default_rng(0)
    group = np.arange(n_tasks) % n_groups
    noise = 0.02 * rng.normal(size=(n_tasks, n_tasks))
    return np.where(group[:, None] == group, 0.5, -0.1) + noise


def long_names(n):
    return [f"toxicity of compound {i} in the human liver cells {i}" for i in range(n)]


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def fitted(cls=MultiTaskRegressor, n_tasks=3, names=None, **params):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    Y = X @ rng.normal(size=(4, n_tasks)) + 0.1 * rng.normal(size=(60, n_tasks))
    Y = Y > 0 if cls is MultiTaskClassifier else Y
    Y = Y if names is None else pd.DataFrame(Y, columns=names)
    small = {"encoder": MLP((8,)), "n_estimators": 1, "max_iter": 4}
    settings = small | {"random_state": 0} | params
    return cls(**settings).fit(X, Y), X


def gain_display(gain, half, names=None, **params):
    gain = np.array(gain, dtype=float)
    interval = np.stack([gain - half, gain + half], axis=1)
    names = names or [f"task{t}" for t in range(len(gain))]
    return SharingGainDisplay(
        gain=gain,
        interval=interval,
        hurts=interval[:, 1] < 0,
        task_names=names,
        **params,
    )


# ------------------------------------------------------------------- affinity
def test_heat_map_puts_groups_side_by_side_in_frames():
    A = grouped(6)
    display = TaskAffinityDisplay.from_affinity(A)
    order = display.order_
    assert sorted(order) == list(range(6))
    assert len({t % 2 for t in order[:3]}) == len({t % 2 for t in order[3:]}) == 1
    assert tick_labels(display.ax_.yaxis) == [f"task{t}" for t in order]
    assert tick_labels(display.ax_.xaxis) == [f"task{t}" for t in order]
    corners = [frame.get_xy() for frame in display.frames_]
    assert corners == [(-0.5, -0.5), (2.5, 2.5)]
    assert {frame.get_width() for frame in display.frames_} == {3}
    shown = display.image_.get_array()
    np.testing.assert_array_equal(shown.mask, np.eye(6, dtype=bool))
    expected = A[np.ix_(order, order)][~shown.mask]
    np.testing.assert_array_equal(shown.compressed(), expected)


def test_zero_is_in_the_middle_of_the_colours_and_the_diagonal_has_no_part():
    display = TaskAffinityDisplay.from_affinity(AFFINITY, label="help")
    assert display.image_.get_clim() == (-0.9, 0.9)
    assert display.colorbar_.ax.get_ylabel() == "help"
    assert display.figure_ is display.ax_.figure


def test_cells_of_few_tasks_hold_their_values():
    display = TaskAffinityDisplay.from_affinity(AFFINITY, groups=None)
    order = display.order_
    written = {t.get_position()[::-1]: t.get_text() for t in display.texts_}
    expected = {
        (i, j): f"{AFFINITY[order[i], order[j]]:.2f}"
        for i in range(3)
        for j in range(3)
        if i != j
    }
    assert written == expected
    assert "-0.15" in written.values()
    tiny = TaskAffinityDisplay.from_affinity([[0, 0.5], [-0.001, 0]])
    assert [text.get_text() for text in tiny.texts_] == ["0.50", "0.00"]
    assert display.frames_ == []


@pytest.mark.parametrize("n_tasks", [3, 8, 12])
def test_values_fit_into_their_cells(n_tasks):
    display = TaskAffinityDisplay.from_affinity(-grouped(n_tasks) / 100)
    display.figure_.draw_without_rendering()
    assert len(display.texts_) == n_tasks * (n_tasks - 1)
    widest = max(text.get_window_extent().width for text in display.texts_)
    assert widest < display.ax_.bbox.width / n_tasks


def test_cells_without_room_for_values_bear_a_sign():
    figure = plt.figure(figsize=(4, 4))
    ax = figure.add_axes((0.1, 0.1, 0.2, 0.2))
    display = TaskAffinityDisplay.from_affinity(grouped(10), ax=ax)
    assert display.texts_ == []
    assert len(ax.collections[0].get_offsets()) == 50


def test_negative_cells_of_many_tasks_bear_a_minus_sign():
    display = TaskAffinityDisplay.from_affinity(grouped(14))
    assert display.texts_ == []
    (signs,) = display.ax_.collections
    marked = {(int(row), int(column)) for column, row in signs.get_offsets()}
    shown = display.image_.get_array().filled(0)
    assert marked == {(i, j) for i, j in np.argwhere(shown < 0).tolist()}
    assert len(marked) == 2 * 7 * 7


def test_unknown_affinities_are_left_out():
    A = AFFINITY.copy()
    A[0, 1] = np.nan
    display = TaskAffinityDisplay.from_affinity(A)
    assert len(display.texts_) == 5
    assert display.image_.get_array().mask.sum() == 4


def test_a_matrix_without_effects_is_empty_or_white():
    assert TaskAffinityDisplay.from_affinity([[3.0]]).texts_ == []
    display = TaskAffinityDisplay.from_affinity(np.eye(2))
    assert [text.get_text() for text in display.texts_] == ["0.0", "0.0"]
    low, high = display.image_.get_clim()
    assert low == -high < 0
    (signs,) = TaskAffinityDisplay.from_affinity(np.eye(13)).ax_.collections
    assert len(signs.get_offsets()) == 0


def test_groups_are_given_by_names_or_numbers():
    names = ["a", "b", "c"]
    frame = pd.DataFrame(AFFINITY, names, names)
    for groups in ([["a", "b"], ["c"]], [[0, 1], [2]]):
        display = TaskAffinityDisplay.from_affinity(frame, groups=groups)
        assert display.groups == [[0, 1], [2]]
        assert set(tick_labels(display.ax_.yaxis)[:2]) in ({"a", "b"}, {"c", "b"})
        assert [frame.get_width() for frame in display.frames_] == [2]


def test_sides_of_a_symmetric_matrix_have_no_direction():
    assert TaskAffinityDisplay.from_affinity(AFFINITY).ax_.get_xlabel()
    mutual = AFFINITY + AFFINITY.T
    assert not TaskAffinityDisplay.from_affinity(mutual).ax_.get_xlabel()


@pytest.mark.parametrize("display", [TaskAffinityDisplay, TaskGraphDisplay])
@pytest.mark.parametrize(
    ("affinity", "message"),
    [
        (np.ones((2, 3)), r"one row and one column per task. Got shape \(2, 3\)"),
        (np.ones(3), r"Got shape \(3,\)"),
        ([["a"]], "must hold numbers"),
        ([[0, np.inf], [0, 0]], "must not be infinite: put NaN"),
    ],
)
def test_bad_affinities_are_refused(display, affinity, message):
    with pytest.raises(ValueError, match=message):
        display.from_affinity(affinity)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("best", "must be 'auto', None or a list of lists of tasks. Got 'best'"),
        ([0, 1, 2], "must be 'auto', None or a list of lists"),
        ([[0, 1]], "misses \\['task2'\\]"),
        ([[0, 1], [1, 2]], "repeats \\['task1'\\]"),
        ([["z"]], "unknown task 'z'"),
    ],
)
def test_bad_groups_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        TaskAffinityDisplay.from_affinity(AFFINITY, groups=groups)


# ---------------------------------------------------------------------- graph
def test_arrows_are_dashed_where_a_task_hurts_and_wider_for_larger_effects():
    display = TaskGraphDisplay.from_affinity(AFFINITY)
    assert display.pairs_ == [(0, 2), (2, 0), (1, 0), (1, 2), (0, 1)]
    widths = [arrow.get_linewidth() for arrow in display.arrows_]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 5
    dashed = [arrow.get_linestyle() != "solid" for arrow in display.arrows_]
    assert dashed == [False, False, False, True, False]
    colors = [arrow.get_edgecolor()[:3] for arrow in display.arrows_]
    assert colors[3] == to_rgba(HURTS)[:3]
    assert colors[0] == to_rgba(HELPS)[:3]


def test_arrows_go_from_who_helps_to_whom():
    display = TaskGraphDisplay.from_affinity(AFFINITY, n_arrows=1)
    ((who, whom),) = display.pairs_
    place = {t: display.labels_[i].xy for i, t in enumerate(display.order_)}
    ends = display.arrows_[0]._path_original.vertices[[0, -1]]
    for end, near, far in ((ends[0], who, whom), (ends[1], whom, who)):
        distance = [np.linalg.norm(end - place[t]) for t in (near, far)]
        assert distance[0] < 0.2 < distance[1]


def test_of_many_arrows_each_task_has_its_largest_help_and_harm():
    A = grouped(10)
    display = TaskGraphDisplay.from_affinity(A)
    np.fill_diagonal(A, 0)
    expected = {(int(A[:, j].argmax()), j) for j in range(10)}
    expected |= {(int(A[:, j].argmin()), j) for j in range(10)}
    assert set(display.pairs_) == expected
    assert len(TaskGraphDisplay.from_affinity(A, n_arrows=7).arrows_) == 7
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["helps (10)", "hurts (10)"]


def test_tasks_stand_on_a_circle_with_gaps_between_groups():
    display = TaskGraphDisplay.from_affinity(grouped(6), groups=[[0, 2, 4], [1, 3, 5]])
    places = np.array([label.xy for label in display.labels_])
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1)
    steps = np.linalg.norm(places - np.roll(places, -1, axis=0), axis=1)
    np.testing.assert_allclose(steps[[0, 1, 3, 4]], steps[0])
    np.testing.assert_allclose(steps[[2, 5]], steps[2])
    assert steps[2] > 1.5 * steps[0]
    names = [label.get_text() for label in display.labels_]
    assert names == [f"task{t}" for t in display.order_]


def test_a_graph_without_effects_has_no_arrows():
    for affinity in (np.eye(3), [[1.0]], [[0, np.nan], [np.nan, 0]]):
        assert TaskGraphDisplay.from_affinity(affinity).arrows_ == []


# ----------------------------------------------------------------------- gain
def test_gains_are_marked_by_shape_and_sorted():
    display = gain_display([0.1, -0.3, 0.0, 0.4], 0.2, delta_m=0.034)
    assert display.plot() is display
    assert display.order_ == [3, 0, 2, 1]
    assert tick_labels(display.ax_.yaxis) == ["task3", "task0", "task2", "task1"]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["helps (1)", "no clear difference (2)", "hurts (1)"]
    places = [mark.get_offsets().tolist() for mark in display.marks_]
    assert places == [[[0.4, 0]], [[0.1, 1], [0.0, 2]], [[-0.3, 3]]]
    shapes = {mark.get_paths()[0].vertices.tobytes() for mark in display.marks_}
    assert len(shapes) == 3
    ends = [line.get_xdata().tolist() for line in display.intervals_]
    expected = [[0.2, 0.6], [-0.1, 0.3], [-0.2, 0.2], [-0.5, -0.1]]
    np.testing.assert_allclose(ends, expected)
    assert "+3.4 %" in display.ax_.get_xlabel()
    assert display.ax_.yaxis_inverted()


def test_gains_are_those_that_sharing_gain_finds():
    est, X = fitted(max_iter=2)
    gain = sharing_gain(est, X, X[:, :3], cv=2)
    display = SharingGainDisplay.from_gain(gain)
    shown = np.concatenate([mark.get_offsets() for mark in display.marks_])
    shown = shown[np.argsort(shown[:, 1]), 0]
    np.testing.assert_array_equal(shown, gain.gain[display.order_])
    assert f"{100 * gain.delta_m:+.2g} %" in display.ax_.get_xlabel()
    with pytest.raises(ValueError, match=r"must be what sharing_gain returns. Got 3\."):
        SharingGainDisplay.from_gain(3)


def test_a_gain_that_is_not_known_stands_last():
    display = gain_display([np.nan, -0.1], 0.01).plot()
    assert display.order_ == [1, 0]
    assert "Δm" not in display.ax_.get_xlabel()
    display.figure_.draw_without_rendering()


# --------------------------------------------------------------------- curves
def test_curves_show_the_history_of_each_task():
    est, _ = fitted(early_stopping=True, max_iter=6)
    display = TrainingCurveDisplay.from_estimator(est)
    assert [ax.get_title("left") for ax in display.axes_] == est.task_names_
    train = np.array([epoch["train_losses"] for epoch in est.history_])
    valid = np.array([epoch["valid_losses"] for epoch in est.history_])
    shown = np.array([line.get_ydata() for line in display.lines_])
    np.testing.assert_array_equal(shown, np.concatenate([train.T, valid.T]))
    best = 1 + int(np.argmax(est.validation_scores_))
    assert display.best_epoch == best
    for ax in display.axes_:
        assert list(ax.lines[-1].get_xdata()) == [best, best]
    styles = {line.get_linestyle() for line in display.axes_[0].lines}
    assert len(styles) == 3


def test_curves_without_validation_show_training_only():
    est, _ = fitted(early_stopping=False)
    display = TrainingCurveDisplay.from_estimator(est)
    assert display.best_epoch is None
    assert len(display.lines_) == 3
    assert [len(ax.lines) for ax in display.axes_] == [1, 1, 1]


def test_curves_of_members_are_means_over_members():
    est, _ = fitted(n_estimators=3, resampling="crossfit")
    display = TrainingCurveDisplay.from_estimator(est)
    assert display.valid_losses.shape == (4, 3)
    first = [losses[0] for losses in est.history_[:, "valid_losses"]]
    np.testing.assert_array_equal(display.lines_[3].get_ydata(), first)


def test_curves_of_some_tasks():
    est, _ = fitted(names=["a", "b", "c"])
    display = TrainingCurveDisplay.from_estimator(est, tasks=["c", 0])
    assert [ax.get_title("left") for ax in display.axes_] == ["c", "a"]
    with pytest.raises(ValueError, match=r"plot names the unknown task 'z'"):
        display.plot(tasks=["z"])


def test_a_single_epoch_is_a_dot():
    est, _ = fitted(max_iter=1)
    display = TrainingCurveDisplay.from_estimator(est)
    assert {line.get_marker() for line in display.lines_} == {"o"}


def test_panels_take_the_place_of_the_axes_given():
    est, _ = fitted(record_gradients=True)
    figure, (left, right) = plt.subplots(1, 2)
    free = figure.add_axes((0.7, 0.1, 0.2, 0.2))
    for ax in (right, free):
        for cls in (TrainingCurveDisplay, TaskWeightDisplay):
            display = cls.from_estimator(est, ax=ax)
            assert display.ax_ is ax
            assert display.figure_ is figure
            box = ax.get_position()
            for panel in display.axes_:
                inner = panel.get_position()
                assert box.x0 - 1e-9 <= inner.x0 < inner.x1 <= box.x1 + 1e-9
                assert box.y0 - 1e-9 <= inner.y0 < inner.y1 <= box.y1 + 1e-9
    assert left.has_data() is False


# -------------------------------------------------------------------- weights
def test_few_weights_are_lines_with_dashes_and_marks_of_their_own():
    est, _ = fitted(weighting="uncertainty", max_iter=5)
    display = TaskWeightDisplay.from_estimator(est)
    ((lines,), (ax,)) = display.artists_, display.axes_
    weights = np.array([epoch["train_weights"] for epoch in est.history_])
    np.testing.assert_array_equal([line.get_ydata() for line in lines], weights.T)
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 3
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == est.task_names_


def test_cosines_are_shown_where_gradients_were_looked_at():
    est, _ = fitted(record_gradients=True, max_iter=5)
    display = TaskWeightDisplay.from_estimator(est)
    assert [ax.get_ylabel() for ax in display.axes_] == [
        "weight",
        "mean cosine with others",
    ]
    C = np.array([epoch["train_gradient_cosines"] for epoch in est.history_])
    expected = (C.sum(axis=2) - 1) / 2
    shown = [line.get_ydata() for line in display.artists_[1]]
    np.testing.assert_allclose(shown, expected.T)


def test_many_weights_are_rows_of_a_heat_map():
    est, _ = fitted(n_tasks=9, record_gradients=True)
    display = TaskWeightDisplay.from_estimator(est)
    ((weights,), (cosines,)) = display.artists_
    np.testing.assert_array_equal(weights.get_array(), display.weights.T)
    assert tick_labels(display.axes_[0].yaxis) == est.task_names_
    assert weights.get_clim()[0] == 0
    low, high = cosines.get_clim()
    assert low == -high < 0


def test_epochs_without_records_are_nan():
    history = [
        {"train_losses": [1.0, 2.0], "train_weights": [1.0, 1.0]},
        {
            "train_losses": [0.5, np.nan],
            "train_weights": [1.5, 0.5],
            "valid_loss": 3.0,
            "valid_losses": [3.0, 3.0],
            "train_gradient_cosines": [[1.0, -0.5], [-0.5, 1.0]],
        },
    ]
    records = TrainingHistory.from_skorch(history, n_tasks=2)
    assert records.best_epoch == 2
    assert np.isnan(records.valid_losses[0]).all()
    np.testing.assert_array_equal(
        mean_cosines(records.cosines), [[np.nan, np.nan], [-0.5, -0.5]]
    )
    empty = TrainingHistory.from_skorch([], n_tasks=2)
    assert empty.best_epoch is None
    assert empty.cosines.shape == (0, 2, 2)


# ---------------------------------------------------------------------- gates
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_gates_of_each_member_stand_side_by_side(n_estimators):
    est, X = fitted(sharing="mmoe", n_estimators=n_estimators)
    display = GateUsageDisplay.from_estimator(est, X)
    assert display.usage.shape == (n_estimators, 3, 4)
    np.testing.assert_allclose(display.usage.sum(axis=2), 1)
    np.testing.assert_allclose(display.usage.mean(axis=0), est.module_.gate_usage(X))
    shown = display.image_.get_array()
    np.testing.assert_array_equal(shown, np.concatenate(list(display.usage), axis=1))
    assert tick_labels(display.ax_.yaxis) == est.task_names_
    assert tick_labels(display.ax_.xaxis) == ["0", "1", "2", "3"] * n_estimators
    assert len(display.ax_.lines) == n_estimators - 1
    assert display.image_.get_clim() == (0, 1)


def test_gates_take_what_predict_takes():
    est, X = fitted(sharing="mmoe")
    expected = GateUsageDisplay.from_estimator(est, X).usage
    backwards = X[:, ::-1].copy()[:, ::-1]
    backwards.setflags(write=False)
    for same in (csr_matrix(X), backwards, pd.DataFrame(X).to_numpy()):
        usage = GateUsageDisplay.from_estimator(est, same).usage
        np.testing.assert_allclose(usage, expected)
    with pytest.raises(ValueError, match="has no gates"):
        GateUsageDisplay.from_estimator(*fitted())
    with pytest.raises(ValueError, match="X has 3 features"):
        GateUsageDisplay.from_estimator(est, X[:, :3])


# ----------------------------------------------------------------- estimators
def test_estimators_are_found_in_pipelines_and_searches():
    _, X = fitted()
    Y = X[:, :3]
    small = {"encoder": MLP((8,)), "n_estimators": 1, "max_iter": 2}
    est = MultiTaskRegressor("mmoe", random_state=0, **small)
    pipe = make_pipeline(StandardScaler(), est)
    search = GridSearchCV(pipe, {"multitaskregressor__alpha": [0.1]}, cv=2).fit(X, Y)
    last = search.best_estimator_[-1]
    display = TrainingCurveDisplay.from_estimator(search)
    first = [losses[0] for losses in last.history_[:, "train_losses"]]
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), first)
    scaled = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(
        GateUsageDisplay.from_estimator(search, X).usage,
        GateUsageDisplay.from_estimator(last, scaled).usage,
    )


@pytest.mark.parametrize("display", FROM_ESTIMATOR)
def test_what_is_no_fitted_estimator_is_refused(display):
    data = (np.ones((4, 2)),) if display is GateUsageDisplay else ()
    name = f"{display.__name__}.from_estimator"
    with pytest.raises(ValueError, match=rf"of {name} must be an estimator of skmtl"):
        display.from_estimator(LogisticRegression(), *data)
    with pytest.raises(NotFittedError):
        display.from_estimator(MultiTaskRegressor(n_estimators=1), *data)


@pytest.mark.parametrize("display", [TrainingCurveDisplay, TaskWeightDisplay])
def test_an_estimator_with_nothing_to_learn_has_no_curves(display):
    est = MultiTaskClassifier(n_estimators=1).fit([[0.0], [1.0]], [[1, 2], [1, 2]])
    with pytest.raises(ValueError, match="no task had anything to learn"):
        display.from_estimator(est)


# --------------------------------------------------------------------- common
def every_display():
    """Return a call of each display with three tasks."""
    est, X = fitted(sharing="mmoe")
    gain = gain_display([0.1, 0.2, 0.3], 0.1)
    return {
        "TaskAffinityDisplay.from_affinity": lambda ax: (
            TaskAffinityDisplay.from_affinity(AFFINITY, ax=ax)
        ),
        "TaskGraphDisplay.from_affinity": lambda ax: TaskGraphDisplay.from_affinity(
            AFFINITY, ax=ax
        ),
        "SharingGainDisplay.plot": gain.plot,
        "TrainingCurveDisplay.from_estimator": lambda ax: (
            TrainingCurveDisplay.from_estimator(est, ax=ax)
        ),
        "TaskWeightDisplay.from_estimator": lambda ax: TaskWeightDisplay.from_estimator(
            est, ax=ax
        ),
        "GateUsageDisplay.from_estimator": lambda ax: GateUsageDisplay.from_estimator(
            est, X, ax=ax
        ),
    }


def test_displays_draw_where_they_are_told_and_draw_again():
    for draw in every_display().values():
        _, ax = plt.subplots()
        display = draw(ax)
        assert display.ax_ is ax
        assert display.figure_ is ax.figure
        again = display.plot()
        assert again is display
        assert display.ax_ is not ax


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    calls = every_display()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name, draw in calls.items():
        sentence = rf"^{name} needs matplotlib: install .*`pip install 'skmtl\[plot\]'`"
        with pytest.raises(ImportError, match=sentence):
            draw(None)


def test_dollar_signs_and_line_breaks_in_names_are_harmless():
    names = ["cost in $ per $", "two\nlines", r"$\frac$"]
    frame = pd.DataFrame(AFFINITY, names, names)
    display = TaskAffinityDisplay.from_affinity(frame)
    assert set(tick_labels(display.ax_.yaxis)) == {names[0], "two lines", names[2]}
    est, _ = fitted(names=names)
    figures = [
        display.figure_,
        TaskGraphDisplay.from_affinity(frame).figure_,
        TrainingCurveDisplay.from_estimator(est).figure_,
        TaskWeightDisplay.from_estimator(est).figure_,
    ]
    for figure in figures:
        figure.draw_without_rendering()


def test_long_names_lose_their_middle_but_stay_different():
    names = [*long_names(2), "a" * 60 + "x" + "a" * 60, "a" * 60 + "y" + "a" * 60, 7]
    short = shorten_names(names, 30)
    assert short[0] == "toxicity of com…liver cells 0"
    assert short[2:] == [names[2], names[3], "7"]
    assert len(set(short)) == 5


def overlaps(labels):
    """Return the labels that reach into the next one, along the y-axis."""
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda b: b.y0)
    return [b for a, b in pairwise(boxes) if b.y0 < a.y1 - 0.5]


@pytest.mark.parametrize("display", ["affinity", "gain", "gates"])
def test_fifty_long_names_fit_beside_each_other(display):
    names = long_names(50)
    if display == "affinity":
        frame = pd.DataFrame(grouped(50), names, names)
        ax = TaskAffinityDisplay.from_affinity(frame).ax_
    elif display == "gain":
        ax = gain_display(np.linspace(-1, 1, 50), 0.1, names).plot().ax_
    else:
        usage = np.full((8, 50, 4), 0.25)
        ax = GateUsageDisplay(usage=usage, task_names=names).plot().ax_
    figure = ax.figure
    figure.draw_without_rendering()
    labels = ax.get_yticklabels()
    assert len({label.get_text() for label in labels}) == 50
    assert overlaps(labels) == []
    assert min(label.get_fontsize() for label in labels) >= 6
    assert min(label.get_window_extent().x0 for label in labels) >= 0
