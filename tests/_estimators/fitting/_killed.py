"""Fits in processes that are killed at random moments, again and again.

Run as a script with a folder: it prints how many processes it has killed, and fails
where a fit that was killed ends up with another model than one that was not.
"""

import hashlib
import importlib
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import MLP

X = np.random.default_rng(0).normal(size=(64, 4))
Y = np.column_stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0, X[:, 3] > 0.5]).astype(int)
SETTINGS = {
    "encoder": MLP((6,), dropout=0.2),
    "batch_size": 16,
    "max_iter": 12,
    "random_state": 0,
    "checkpoint_every": 1,
}
FITS = {
    "alone": (
        MultiTaskClassifier(
            **SETTINGS, n_estimators=1, early_stopping=True, augmentation="mixup"
        ),
        Y,
    ),
    "members at once": (
        MultiTaskClassifier(
            **SETTINGS, n_estimators=3, resampling="bootstrap", weighting="dwa"
        ),
        Y,
    ),
    "members in turns": (
        MultiTaskRegressor(
            **SETTINGS, n_estimators=2, weighting="pcgrad", relation="task_covariance"
        ),
        X[:, :3] ** 2,
    ),
}
#: Longest time between beginning a fit and killing it, in times of a whole fit.
LONGEST = 0.7


def digest(est):
    """Return a hash of the last bit of a model and of what was recorded."""
    found = hashlib.sha256()
    for module in (est.module_, est.weighting_):
        for name, value in module.state_dict().items():
            found.update(name.encode() + value.numpy().tobytes())
    for epoch in est.history_:
        found.update(repr({**epoch, "dur": 0}).encode())
    return found.hexdigest()


def started(name, folder, result):
    """Fit in a process of its own, which writes a hash of its model."""
    process = os.fork()
    if process:
        return process
    est, y = FITS[name]
    est.set_params(checkpoint=folder).fit(X, y, resume="auto" if folder else False)
    result.write_text("\n".join([digest(est), *sys.modules]))
    os._exit(0)


def of_whole_fit(name, result):
    """Return the hash of a fit that nothing interrupts, and the seconds it takes."""
    assert not ended(started(name, None, result))
    for module in result.read_text().split()[1:]:  # forked processes then have them
        with suppress(ImportError):
            importlib.import_module(module)
    start = time.perf_counter()
    assert not ended(started(name, None, result))
    return result.read_text().split()[0], time.perf_counter() - start


def ended(process):
    """Wait for a process; tell whether a kill has ended it."""
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def killed_until_done(name, folder, result, moments, longest):
    """Fit and kill until a fit comes to its end; return the number of kills."""
    for n_killed in range(1000):
        process = started(name, folder, result)
        time.sleep(moments.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
        if not ended(process):
            return n_killed
    raise AssertionError(f"{name} does not come to an end")


def main(folder, n_kills):
    moments, n_killed, n_rounds = random.Random(0), 0, 0
    result = folder / "result"
    whole = {name: of_whole_fit(name, result) for name in FITS}
    while n_killed < n_kills:
        for name, (expected, seconds) in whole.items():
            kept, longest = folder / f"{name} {n_rounds}", LONGEST * seconds
            n_killed += killed_until_done(name, kept, result, moments, longest)
            assert result.read_text().split()[0] == expected, name
        n_rounds += 1
    print(n_killed, "processes killed in", n_rounds * len(FITS), "fits")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
