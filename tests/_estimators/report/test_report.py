"""The report of an estimator shows what is so, in a parser and in a browser."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import rcParams
from sklearn.exceptions import NotFittedError

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.inspection import SharingGain
from skmtl.relation import Relation, RelationModule
from skmtl.weighting import Static

NAMES = ["risk <b>&", "kind", "cost in $ per $"]
BROWSER = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])),
    None,
)
#: Elements without an end.
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """What a page holds: rows of tables, texts of pictures, links, elements."""

    def __init__(self, html):
        super().__init__()
        self.html, self.rows, self.headings = html, [], []
        self.elements, self.drawn = [], []
        self._open, self._cell = [], None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data
        if "h2" in self._open:
            self.headings.append(data)
        if "text" in self._open and data.strip():
            self.drawn.append(data)

    def row(self, *start):
        """Return the rest of the row that starts with these cells."""
        (found,) = [r[len(start) :] for r in self.rows if r[: len(start)] == [*start]]
        return found

    def of(self, tag):
        """Return the attributes of the elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def data(n=120):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    Y = pd.DataFrame(
        {
            NAMES[0]: np.where(X[:, 0] > 0.5, "yes", "n<o"),
            NAMES[1]: np.digitize(X[:, 1], [-0.5, 0.5]),
            NAMES[2]: 10 + 3 * X[:, 2],
        }
    )
    Y.loc[: n // 4 - 1, NAMES[0]] = None
    return X, Y


def gain_of(names):
    return SharingGain(
        task_names=list(names),
        scores=np.array([[0.7, 0.5, 0.25], [0.9, 0.5, 0.25]]),
        independent_scores=np.array([[0.6, 0.6, 0.3], [0.8, 0.6, 0.3]]),
        gain=np.array([0.1, -0.1, -0.05]),
        interval=np.array([[0.04, 0.16], [-0.17, -0.03], [-0.15, 0.05]]),
        helps=np.array([True, False, False]),
        hurts=np.array([False, True, False]),
        delta_m=-0.0635,
        delta_m_interval=np.array([-0.2, 0.11]),
        seconds=2.5,
        independent_seconds=4.25,
        n_parameters=12345,
        independent_n_parameters=67890,
    )


@pytest.fixture(scope="module")
def estimator():
    X, Y = data()
    est = MultiTaskEstimator(
        n_estimators=2, record_gradients=True, max_iter=5, random_state=0
    )
    return est.fit(X, Y)


@pytest.fixture(scope="module")
def path(estimator, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    before = dict(rcParams)
    assert estimator.report_html(path, *data(), gain=gain_of(NAMES)) is None
    assert dict(rcParams) == before
    return path


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text("utf-8"))


def report(est, folder, *args, **kwargs):
    est.report_html(str(folder / "report.html"), *args, **kwargs)
    return Page((folder / "report.html").read_text("utf-8"))


def number(value):
    return f"{value:#.4g}".replace("-", "\N{MINUS SIGN}")


def check_numbers(page, est):
    """The page holds what the estimator knows, in its tables."""
    X, Y = data()
    assert page.headings == [
        "Settings",
        "Tasks",
        "Scores",
        "Training",
        "Weights of the tasks",
        "Relations between tasks",
        "Gain from sharing",
    ]
    assert page.row("max_iter") == ["5"]
    shares = Y[NAMES[0]].value_counts(normalize=True).sort_index()
    told = [f"{label}: {100 * share:.3g} %" for label, share in shares.items()]
    row = page.row(NAMES[0], "classification")
    assert row == ["2", "90", "25 %", ", ".join(told)]
    assert page.row(NAMES[2], "regression")[:3] == ["\N{EN DASH}", "120", "0 %"]
    assert page.row(NAMES[2], "regression")[3] == (
        f"mean {number(Y[NAMES[2]].mean())}, "
        f"standard deviation {number(Y[NAMES[2]].std(ddof=0))}"
    )
    scores = est._score_tasks(X, Y)
    rows = [page.row(name, kind) for name, kind in zip(NAMES, SCORES, strict=True)]
    assert [row[1] for row in rows] == [number(score) for score in est.oof_scores_]
    assert [row[2] for row in rows] == [number(score) for score in scores]
    assert [row[3] for row in rows] == ["90", "120", "120"]
    assert rows[2][0] == "0.000"
    assert page.row("Mean over tasks", "")[1:3] == [
        number(est.oof_score_),
        number(est.score(X, Y)),
    ]
    last = est.history_[-1]
    gained = [["0.8000", "0.7000", "0.1000"], ["0.5000", "0.6000"], ["0.2500"]]
    for t, name in enumerate(NAMES):
        rows = [row[1:] for row in page.rows if row[0] == name]
        assert [number(last["train_weights"][t]), *_cosine(last, t)] in rows
        losses = [row for row in rows if row[0] == number(last["train_losses"][t])]
        assert len(losses) == 1
        assert any(row[: len(gained[t])] == gained[t] for row in rows)
    assert page.row(NAMES[1], "0.5000", "0.6000")[-1] == "hurts"
    assert page.row(NAMES[0], "0.8000", "0.7000")[-1] == "helps"
    assert "12,345 parameters" in page.html
    assert "\N{MINUS SIGN}6.35 %" in page.html


SCORES = ["accuracy", "accuracy", "R²"]


def _cosine(epoch, task):
    row = np.delete(np.array(epoch["train_gradient_cosines"])[task], task)
    return [number(row.mean())]


def test_the_page_holds_the_numbers(page, estimator):
    check_numbers(page, estimator)


def test_pictures_name_the_tasks_and_say_what_they_show(page):
    pictures = page.of("svg")
    assert len(pictures) == 4
    assert all(picture["role"] == "img" for picture in pictures)
    told = [picture["aria-label"] for picture in pictures]
    assert told[0].startswith("Losses of 3 tasks over 5 epochs")
    assert len(set(told)) == 4
    for name in NAMES:
        assert page.drawn.count(name) >= 4
    assert "training" in page.drawn
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_the_page_stands_alone(page):
    links = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("href", "src", "xlink:href")
    ]
    assert links
    assert all(link.startswith(("#", "data:image/png")) for link in links)
    assert {"script", "link"}.isdisjoint(tag for tag, _ in page.elements)
    assert "@import" not in page.html
    policy = [m["content"] for m in page.of("meta") if "http-equiv" in m]
    assert policy[0].startswith("default-src 'none'")


def test_the_page_can_be_read_without_seeing_it(page):
    assert page.of("html") == [{"lang": "en"}]
    headers = page.of("th")
    assert {header["scope"] for header in headers} == {"row", "col"}
    assert len(page.of("caption")) == len(page.of("table")) == 7
    assert {"b", "o"}.isdisjoint(tag for tag, _ in page.elements)
    names = {a["id"] for a in page.of("h2")}
    assert {a["href"] for a in page.of("a")} == {f"#{name}" for name in names}


def test_colours_follow_the_page(page):
    drawn = page.html.partition("</style>")[2]
    assert "var(--ink)" in drawn
    assert "var(--line-0)" in drawn
    assert "#1f2329" not in drawn
    assert "prefers-color-scheme: dark" in page.html
    assert "@media print" in page.html


def browse(path, folder):
    """Return what a browser makes of a page, and what its console says."""
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder}",
        "--enable-logging=stderr",
        "--dump-dom",
        path.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, check=True, timeout=120)
    console = [line for line in run.stderr.decode().splitlines() if "CONSOLE" in line]
    return run.stdout.decode(), console


@pytest.mark.skipif(BROWSER is None, reason="there is no browser here")
def test_a_browser_shows_the_numbers_and_has_no_complaint(path, estimator, tmp_path):
    html, console = browse(path, tmp_path)
    assert console == []
    check_numbers(Page(html), estimator)


@pytest.mark.skipif(BROWSER is None, reason="there is no browser here")
def test_a_browser_complains_of_what_a_report_must_not_do(path, tmp_path):
    bad = tmp_path / "bad.html"
    script = "<script>console.error('ran')</script></main>"
    bad.write_text(path.read_text("utf-8").replace("</main>", script), "utf-8")
    _, console = browse(bad, tmp_path / "browser")
    assert len(console) == 1
    assert "Content Security Policy" in console[0]


def test_a_report_without_data_says_what_it_knows(tmp_path):
    X, Y = data()
    est = MultiTaskClassifier(max_iter=2, random_state=0, n_estimators=1).fit(
        X, Y[NAMES[:2]]
    )
    page = report(est, tmp_path)
    assert "call report_html with X and y" in page.html
    assert page.headings[-1] == "Weights of the tasks"
    assert len(page.of("svg")) == 2
    assert page.row("sharing") == ["'hard'"]


def test_settings_that_were_changed_are_listed(tmp_path):
    X, Y = data()
    est = MultiTaskRegressor(
        weighting=Static(), max_iter=1, random_state=3, n_estimators=1
    )
    page = report(est.fit(X, Y[NAMES[2]]), tmp_path, X, Y[NAMES[2]])
    parameters = page.rows[1:8]
    assert parameters == [
        ["sharing", "'hard'"],
        ["encoder", "'mlp'"],
        ["weighting", "Static()"],
        ["relation", "None"],
        ["max_iter", "1"],
        ["n_estimators", "1"],
        ["random_state", "3"],
    ]


def test_labels_of_several_passes_are_counted_together(tmp_path):
    X, Y = data(80)
    y = Y[NAMES[2]]
    est = MultiTaskRegressor(random_state=0, n_estimators=1)
    for rows in (slice(0, 50), slice(50, 80)):
        est.partial_fit(X[rows], y[rows])
    assert "80" in report(est, tmp_path).row(NAMES[2], "regression")
    est.fit(X[:40], y[:40])
    assert "40" in report(est, tmp_path).row(NAMES[2], "regression")


def test_many_classes_are_told_from_the_commonest_to_the_rarest(tmp_path):
    y = np.repeat(np.arange(8), [10, 10, 30, 10, 10, 10, 2, 18])
    X = np.random.default_rng(0).normal(size=(100, 2))
    est = MultiTaskClassifier(max_iter=1, random_state=0, n_estimators=1).fit(X, y)
    told = report(est, tmp_path).row("task0", "classification")[-1]
    assert told == "from 2: 30 % to 6: 2 %"


class Known(Relation):
    """A relation that is known beforehand and does nothing."""

    def build(self, n_tasks, width):
        return _Known()


class _Known(RelationModule):
    def matrix(self):
        return torch.tensor([[9.0, 0.25, 0.0], [-0.5, 9.0, 0.125], [0.0, 0.0, 9.0]])


def test_relations_are_shown_with_their_largest_values(tmp_path):
    est = MultiTaskEstimator(
        relation=Known(), max_iter=1, random_state=0, n_estimators=1
    )
    page = report(est.fit(*data()), tmp_path)
    a, b, c = NAMES
    start = page.rows.index(["Row", "Column", "Value"])
    shown = [[b, a, "\N{MINUS SIGN}0.5000"], [a, b, "0.2500"], [b, c, "0.1250"]]
    assert page.rows[start + 1 :] == shown
    assert page.of("svg")[-1]["aria-label"] == "Relation between tasks"
    assert {"-0.50", "0.25", "0.12"} <= set(page.drawn)


def test_tasks_with_nothing_to_learn_have_no_pictures(tmp_path):
    est = MultiTaskClassifier(n_estimators=1).fit(
        [[0.0], [1.0]], [["a", "b"], ["a", "b"]]
    )
    page = report(est, tmp_path, [[0.0]], [["a", "c"]])
    assert page.headings == ["Settings", "Tasks", "Scores"]
    assert page.row("task1", "accuracy")[1] == "0.000"


def test_letters_that_matplotlib_lacks_are_no_trouble(tmp_path):
    X, Y = data()
    names = ["温度", "圧力"]
    est = MultiTaskClassifier(max_iter=1, random_state=0, n_estimators=1)
    est.fit(X, Y[NAMES[:2]].set_axis(names, axis=1))
    assert set(names) <= set(report(est, tmp_path).drawn)


@pytest.mark.parametrize("given", [{"X": np.ones((2, 4))}, {"y": np.ones((2, 3))}])
def test_data_without_labels_are_refused(estimator, tmp_path, given):
    path = tmp_path / "none.html"
    with pytest.raises(ValueError, match="X and y must be given together"):
        estimator.report_html(path, **given)
    assert not path.exists()


@pytest.mark.parametrize("gain", [gain_of(["a", "b", "c"]), 0.3])
def test_gains_of_other_tasks_are_refused(estimator, tmp_path, gain):
    with pytest.raises(ValueError, match="must be what sharing_gain returns for the"):
        estimator.report_html(tmp_path / "none.html", gain=gain)


def test_an_unfitted_estimator_has_no_report(tmp_path):
    with pytest.raises(NotFittedError):
        MultiTaskRegressor(n_estimators=1).report_html(tmp_path / "none.html")


def test_without_matplotlib_the_error_says_what_to_install(
    estimator, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"^report_html needs matplotlib: .*\[plot\]"):
        estimator.report_html(tmp_path / "none.html")
