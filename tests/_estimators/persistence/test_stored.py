"""Files that earlier versions have written load, and predict what they did."""

import json
import shutil

import pytest
import skops.io
from sklearn.base import clone

import skmtl
from tests._estimators.persistence._stored import (
    CODES,
    ESTIMATORS,
    FOLDER,
    X,
    make_interrupted,
    name_all_fits_alike,
    predict,
)

VERSIONS = sorted(path for path in FOLDER.iterdir() if path.is_dir())


def assert_predicts(estimator, folder, name):
    expected = json.loads((folder / "expected.json").read_text())[name]
    for row, other in zip(predict(estimator), expected, strict=True):
        for value, stored in zip(row, other, strict=True):
            if isinstance(stored, float):
                assert value == pytest.approx(stored, rel=1e-4, abs=1e-4)
            else:
                assert value == stored


def test_there_are_stored_files():
    assert VERSIONS


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_files_load(folder, name):
    if name.endswith(".skops"):
        trusted = skmtl.get_trusted_types()
        estimator = skops.io.load(folder / name, trusted=trusted)
    else:
        estimator = skmtl.load(folder / name)
    assert_predicts(estimator, folder, name)
    same, labels = ESTIMATORS[name]
    assert repr(estimator.get_params()) == repr(same.get_params())
    clone(estimator).set_params(max_iter=1).fit(X, labels)


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)
def test_a_fit_goes_on_from_a_checkpoint(folder, tmp_path, monkeypatch):
    copy = shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    n_batches = []
    step = skmtl.training._loop.TrainingLoop.train_step
    monkeypatch.setattr(
        skmtl.training._loop.TrainingLoop,
        "train_step",
        lambda *args: n_batches.append(1) or step(*args),
    )
    with name_all_fits_alike():
        estimator = make_interrupted(copy).fit(X, CODES, resume="auto")
    assert len(n_batches) == 2  # one in each of the last two epochs
    assert estimator.n_iter_ == 4
    assert_predicts(estimator, folder, "checkpoint")
