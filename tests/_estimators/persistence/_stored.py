"""Write the files that test_stored.py reads, for the present version of the formats.

Files of earlier versions stay, since later versions of the package read them. From the
root of the repository::

    python -m tests._estimators.persistence._stored NAME_OF_A_NEW_FOLDER
"""

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import skops.io

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.sharing import Additive

FOLDER = Path(__file__).with_name("stored")
RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 2)).astype(np.float32)
VALUE = X[:, 0] - X[:, 1]
CLASS = np.where(X[:, 0] > 0, "right", "left")
Y = np.array([*zip(CLASS, VALUE.round(1), strict=True)], dtype=object)
CODES = np.column_stack([X[:, 0] > 0, (X > 0).sum(axis=1)])
SETTINGS = {"encoder": MLP((4,)), "max_iter": 3, "random_state": 0}
#: Estimators by the name of their file, and what they learn.
ESTIMATORS = {
    "mixed.safetensors": (MultiTaskEstimator(n_estimators=2, **SETTINGS), Y),
    "regressor.safetensors": (
        MultiTaskRegressor(Additive(strength=0.1), n_estimators=1, **SETTINGS),
        np.column_stack([VALUE, VALUE**2]),
    ),
    "classifier.skops": (
        MultiTaskClassifier(
            weighting="uncertainty", n_estimators=2, relation="graph", **SETTINGS
        ),
        CODES,
    ),
}


def make_interrupted(folder, max_iter=4):
    """Return an estimator with checkpoints in a folder."""
    settings = {**SETTINGS, "max_iter": max_iter, "n_estimators": 2}
    return MultiTaskClassifier(checkpoint=folder, checkpoint_every=2, **settings)


def name_all_fits_alike():
    """Let checkpoints belong to every fit: hashes may change with what is hashed."""
    path = "skmtl._estimators.fitting.checkpointing.compute_fingerprint"
    return mock.patch(path, return_value="stored")


def predict(estimator):
    """Return predictions as lists."""
    return np.asarray(estimator.predict(X[:5])).tolist()


def main(folder):
    """Write all files into a new folder, and what they predict beside them."""
    folder.mkdir(parents=True)
    expected = {}
    for name, (estimator, labels) in ESTIMATORS.items():
        estimator.fit(X, labels)
        if name.endswith(".skops"):
            skops.io.dump(estimator, folder / name)
        else:
            skmtl.save(estimator, folder / name)
        expected[name] = predict(estimator)
    with name_all_fits_alike():
        estimator = make_interrupted(folder / "checkpoint").fit(X, CODES)
    expected["checkpoint"] = predict(estimator)
    for path in (folder / "checkpoint").iterdir():  # go on from the one before the last
        if "0000002" not in path.name:
            path.unlink()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    main(FOLDER / sys.argv[1])
