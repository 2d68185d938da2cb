"""What fits leave behind and what checkpoints cost.

Memory after every 50 of 500 epochs, with and without checkpoints; seconds that a
checkpoint takes by the size of the network; fits in threads against one after another.
"""

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP

EPOCHS = 500
RNG = np.random.default_rng(0)


class Watching(Callback):
    """Note memory and open files after every 50 epochs."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.process = psutil.Process()
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) % 50 == 0:
            with self.process.oneshot():
                mebibytes = self.process.memory_info().rss / 2**20
                self.seen.append((mebibytes, self.process.num_fds()))


def data(n, n_features):
    X = RNG.normal(size=(n, n_features)).astype(np.float32)
    return X, (X[:, :4] + RNG.normal(size=(n, 4)) > 0).astype(int)


def memory(folder):
    """Print memory and open files along 500 epochs."""
    X, Y = data(200, 10)
    settings = {"max_iter": EPOCHS, "n_iter_no_change": np.inf, "random_state": 0}
    for name, own in {
        "one network": {"n_estimators": 1},
        "three members": {"n_estimators": 3},
        "gradients": {"n_estimators": 1, "weighting": "upgrad"},
        "checkpoints every 5": {"n_estimators": 1, "checkpoint": folder},
    }.items():
        watching = Watching()
        est = MultiTaskClassifier(encoder=MLP((32,)), **settings, **own)
        est.set_params(callbacks=[watching], batch_size=100)
        est.set_params(checkpoint_every=5).fit(X, Y)
        after, files = zip(*watching.seen, strict=True)
        print(f"{name:20} MiB {' '.join(f'{m:.1f}' for m in after)}", end="  ")
        print(f"files {min(files)} to {max(files)}", flush=True)


def checkpoints(folder):
    """Print what a checkpoint costs beside an epoch."""
    X, Y = data(2000, 100)
    for width in (64, 512, 1024):
        settings = {"encoder": MLP((width, width)), "n_estimators": 1, "max_iter": 5}
        est = MultiTaskClassifier(**settings, random_state=0, precision="float32")
        est.set_params(n_iter_no_change=np.inf, checkpoint_every=1, n_threads=1)
        times = []
        for path in (None, Path(folder) / str(width)):
            clone(est).set_params(max_iter=1).fit(X, Y)
            start = time.perf_counter()
            fitted = clone(est).set_params(checkpoint=path).fit(X, Y)
            times.append((time.perf_counter() - start) / fitted.n_iter_)
        size = max(file.stat().st_size for file in path.iterdir()) / 2**20
        print(
            f"width {width}: an epoch {1e3 * times[0]:.1f} ms, a checkpoint of "
            f"{size:.1f} MiB {1e3 * (times[1] - times[0]):.1f} ms",
            flush=True,
        )


def threads():
    """Print how much faster two threads are than one, each fit on one torch thread."""
    settings = {"n_estimators": 1, "precision": "float32", "n_threads": 1}
    for width, n, epochs in ((32, 2000, 20), (256, 10_000, 3), (1024, 10_000, 1)):
        X, Y = data(n, 100)
        est = MultiTaskClassifier(**settings, encoder=MLP((width, width)))
        est.set_params(max_iter=epochs, random_state=0, early_stopping=False)
        seconds = {}
        for n_threads in (1, 2, 1, 2):
            with ThreadPoolExecutor(n_threads) as pool:
                start = time.perf_counter()
                for fit in [pool.submit(clone(est).fit, X, Y) for _ in range(4)]:
                    fit.result()
                took = time.perf_counter() - start
            seconds[n_threads] = min(took, seconds.get(n_threads, np.inf))
        print(
            f"width {width}: four fits {seconds[1]:.2f} s one after another, "
            f"{seconds[2]:.2f} s two at a time: {seconds[1] / seconds[2]:.2f} x",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", default=["memory", "checkpoints", "threads"]
    )
    parts = parser.parse_args().parts
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        if "memory" in parts:
            memory(folder)
        if "checkpoints" in parts:
            checkpoints(folder)
    if "threads" in parts:
        threads()


if __name__ == "__main__":
    main()
