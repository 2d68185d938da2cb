"""Names and labels reach a terminal without what acts on it."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

import skmtl
from skmtl import MultiTaskClassifier
from skmtl._core.printable import escape_text
from skmtl._estimators.persistence.file_format import read, write
from skmtl.encoder import MLP
from skmtl.exceptions import ModelFileError
from skmtl.metrics import multitask_report
from skmtl.model_selection import compare_sharing

EVIL = "\x1b]0;title\x07\x1b[2J\r\x9b31m\u202e"
SHOWN = r"\x1b]0;title\x07\x1b[2J\r\x9b31m\u202e"
#: What acts on a terminal, but for ends of lines and returns of progress bars.
ACTS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e]|\x1b\]")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
LABELS = np.where(X > 0, "yes" + EVIL, "no")
Y = pd.DataFrame(LABELS, columns=[EVIL, "b"], dtype=object)
SMALL = {
    "encoder": MLP((2,), numeric_embedding=None),
    "max_iter": 1,
    "n_estimators": 1,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def estimator():
    return MultiTaskClassifier(**SMALL).fit(X, Y)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("naïve 漢字 \u00a0👩\u200d🔬", "naïve 漢字 \u00a0👩\u200d🔬"),
        ("a\x1b[0mb\x7f\x85\n", r"a\x1b[0mb\x7f\x85\n"),
        ("\u202etxt.exe\u2066\u2028", r"\u202etxt.exe\u2066\u2028"),
        ("\ud800", r"\ud800"),
        (3, "3"),
        (("a\x1b", 1), r"('a\x1b', 1)"),
    ],
)
def test_control_characters_are_escaped(value, text):
    assert escape_text(value) == text


def test_progress_bars_and_reports(estimator, capsys):
    est = MultiTaskClassifier(**SMALL, verbose=1).fit(X, Y)
    print(multitask_report(est, X, Y))
    print(estimator.sharing_summary())
    shown = "".join(capsys.readouterr())
    assert SHOWN in shown
    assert not ACTS.search(shown)


def test_comparisons(capsys):
    est = MultiTaskClassifier(**SMALL)
    candidates = {"a" + EVIL: est, "b": est}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        comparison = compare_sharing(candidates, X, Y, cv=2, baseline="b")
    print(comparison)
    shown = "".join(capsys.readouterr()) + comparison._repr_html_()
    assert "\\x1b]0;title" in shown
    assert not ACTS.search(shown)


def test_errors_quote_names(estimator):
    for call in (
        lambda: estimator.task_estimator("c" + EVIL),
        lambda: estimator.score(X, Y.rename(columns={"b": EVIL + "c"})),
        lambda: MultiTaskClassifier(**SMALL, class_weight=[{EVIL: 2.0}, None]).fit(
            X, Y
        ),
        lambda: skmtl.load(EVIL),
    ):
        with pytest.raises((ValueError, OSError, KeyError)) as error:
            call()
        assert not ACTS.search(str(error.value))


def test_errors_of_files(estimator, tmp_path):
    skmtl.save(estimator, tmp_path / "model")
    document, tensors = read(tmp_path / "model")
    document["parameters"]["sharing"] = {"kind": "decimal", "value": EVIL}
    names = document["net"]["module"]
    tensors[EVIL] = tensors.pop(names["heads.bias"])
    names["heads.bias" + EVIL] = names.pop("heads.bias")
    write(tmp_path / "model", document, tensors)
    for _ in range(2):
        with pytest.raises(ModelFileError, match="holds no model") as error:
            skmtl.load(tmp_path / "model")
        assert not ACTS.search(str(error.value))
        document["parameters"]["sharing"] = "hard"
        write(tmp_path / "model", document, tensors)
