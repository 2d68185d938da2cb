"""What the benchmarks measure in fresh interpreters; speed.py runs it."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def child_import(modules: str) -> None:
    """Print how long importing takes in a fresh interpreter."""
    start = time.perf_counter()
    for module in modules.split(","):
        __import__(module)
    print(time.perf_counter() - start)


def child_memmap(path: str, n: str, n_features: str) -> None:
    """Print how far anonymous memory rises while fitting on a file, and the time."""
    import numpy as np
    import torch

    from skmtl import MultiTaskClassifier
    from skmtl.encoder import MLP

    torch.set_num_threads(1)
    shape = (int(n), int(n_features))
    X = np.memmap(path, dtype=np.float32, mode="r", shape=shape)
    Y = np.random.default_rng(0).integers(0, 3, (shape[0], 2), dtype=np.int8)
    model = MultiTaskClassifier(
        encoder=MLP((32,), dropout=0, numeric_embedding=None),
        n_estimators=1,
        batch_size=8192,
        max_iter=1,
        early_stopping=False,
        precision="float32",
        n_threads=1,
        random_state=0,
    )
    model.fit(X[:10_000], Y[:10_000])  # what is loaded once is not the fit's
    with anonymous_peak() as peak:
        start = time.perf_counter()
        model.fit(X, Y)
        seconds = time.perf_counter() - start
    print(peak[0], seconds)


@contextmanager
def anonymous_peak() -> Iterator[list[float]]:
    """Sample the process's anonymous memory; yields [peak above the start, in GB]."""

    def anonymous() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise OSError("no RssAnon in /proc/self/status")

    start = anonymous()
    peak, done = [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], (anonymous() - start) / 1e9)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    globals()[f"child_{sys.argv[1]}"](*sys.argv[2:])
