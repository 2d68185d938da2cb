"""Checkpoints that are damaged or made up are not used, and say so in one sentence."""

import copy
import random

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP
from skmtl.exceptions import CheckpointWarning
from skmtl.training._checkpoint import CheckpointError, read, write

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int)
EPOCHS = 3


def classifier(folder, **settings):
    settings = {
        "encoder": MLP((3,), numeric_embedding=None),
        "batch_size": 20,
        "max_iter": EPOCHS,
        "n_estimators": 1,
        "random_state": 0,
        "early_stopping": True,
        "n_iter_no_change": np.inf,
        "checkpoint_every": 2,
        **settings,
    }
    return MultiTaskClassifier(**settings, checkpoint=folder)


SETTINGS = {"one": {}, "stacked": {"n_estimators": 2}}


@pytest.fixture(scope="module", params=SETTINGS)
def interrupted(request, tmp_path_factory):
    """Return an estimator, its checkpoint after two epochs, and predictions."""
    folder = tmp_path_factory.mktemp("checkpoints")
    est = classifier(folder, **SETTINGS[request.param]).fit(X, Y)
    newest, before = sorted(folder.iterdir(), reverse=True)
    newest.unlink()
    return est, before, est.predict_proba(X)


def resume(est, path, predictions):
    """Resume, and return whether the checkpoint was used, or what was said of it."""
    for newer in path.parent.glob("*-0000003.pt"):
        newer.unlink()
    with pytest.warns(CheckpointWarning) as caught:
        other = copy.copy(est).fit(X, Y, resume="auto")
    for a, b in zip(other.predict_proba(X), predictions, strict=True):
        np.testing.assert_array_equal(a, b)
    (warning,) = caught
    start, end = f"The checkpoint {str(path)!r} is not used: it", "."
    message = str(warning.message)
    assert message.startswith(start)
    assert message.endswith(end)
    return message


def test_no_flipped_bit_goes_unnoticed(interrupted):
    _, path, _ = interrupted
    fingerprint, whole = path.name.split("-")[0], path.read_bytes()
    header, rng = whole.index(b"\n") + 1, np.random.default_rng(0)
    assert read(path, fingerprint, EPOCHS)[0] == 2
    places = [*range(header), *range(len(whole) - 64, len(whole))]
    places += rng.integers(len(whole), size=100).tolist()
    try:
        for place in places:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                read(path, fingerprint, EPOCHS)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("epochs", [-5, 0, EPOCHS + 1, True, 2.0, "2", None, [2]])
def test_epochs_that_the_fit_does_not_have(epochs, interrupted):
    est, path, predictions = interrupted
    fingerprint, whole = path.name.split("-")[0], path.read_bytes()
    _, state = read(path, fingerprint, EPOCHS)
    write(path, fingerprint, epochs, state)
    try:
        assert f"it is of epoch {epochs!r}" in resume(est, path, predictions)
    finally:
        path.write_bytes(whole)


#: What stands in place of each value of a state.
JUNK = [None, "junk", -1, 10**9, [], {}, torch.zeros(1), torch.full((7,), 10**9)]


def places(node):
    """Return every place of a state, as what holds it and the key or number."""
    inside = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in list(inside):
        if isinstance(node, dict | list):
            yield node, name
        if isinstance(value, dict | list | tuple):
            yield from places(value)


def test_forged_fields_never_reach_the_training(interrupted):
    """Each value in turn; what is resumed from is what training may come to."""
    est, path, predictions = interrupted
    fingerprint, whole = path.name.split("-")[0], path.read_bytes()
    _, state = read(path, fingerprint, EPOCHS)
    n_places = len(list(places(state)))
    rng, n_refused = random.Random(0), 0
    for i in rng.sample(range(n_places), 8):
        forged = copy.deepcopy(state)
        holder, name = list(places(forged))[i]
        holder[name] = rng.choice(JUNK)
        write(path, fingerprint, 2, forged)
        try:
            resume(est, path, predictions)
            n_refused += 1
        except (AssertionError, pytest.fail.Exception):
            pass  # what it was replaced by may stand there
    path.write_bytes(whole)
    assert n_refused > 3
