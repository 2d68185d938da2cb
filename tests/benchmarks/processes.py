"""Epochs of one model in two processes against one process.

    python tests/benchmarks/processes.py [--quick]

prints one table: seconds of an epoch, and their ratios. skmtl must be importable:
installed, or the repository's root in PYTHONPATH.

How it measures. Two processes of one thread each, connected by gloo, one process of one
thread and one of two take turns, a fresh interpreter each; each prints the time of an
epoch, (fit of E2 epochs - fit of E1 epochs) / (E2 - E1), and a ratio is the median over
rounds of the ratio within a round. All train the same model on the same global batches.
Two processes can take half the time of one at best; what they send each other in a step
is the gradient of every parameter, once, and two numbers per task.
"""

import argparse
import os
import subprocess
import sys
import time

import numpy as np
import torch
from measure import Row, print_report, ratio_row, turns

N_ROWS, N_FEATURES, N_TASKS = 20_000, 100, 8
#: Widths of two layers, and rows of a batch.
CASES = [(64, 512), (512, 2048)]
EPOCHS = 1, 4


def child(width: str, batch_size: str) -> None:
    """Print how long an epoch takes; only the main process does."""
    from accelerate import Accelerator

    from skmtl import MultiTaskClassifier
    from skmtl.encoder import MLP

    accelerator = Accelerator(cpu=True)
    n_threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(n_threads)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_FEATURES), dtype=np.float32)
    Y = (X @ rng.standard_normal((N_FEATURES, N_TASKS)) > 0).astype(int)
    model = MultiTaskClassifier(
        encoder=MLP((int(width),) * 2, dropout=0, numeric_embedding=None),
        batch_size=int(batch_size),
        n_estimators=1,
        early_stopping=False,
        n_iter_no_change=np.inf,
        precision="float32",
        n_threads=n_threads,
        random_state=0,
        accelerator=accelerator,
    )
    model.set_params(max_iter=1).fit(X, Y)
    times = []
    for epochs in EPOCHS:
        accelerator.wait_for_everyone()
        start = time.perf_counter()
        model.set_params(max_iter=epochs).fit(X, Y)
        times.append(time.perf_counter() - start)
    if accelerator.is_main_process:
        print((times[1] - times[0]) / (EPOCHS[1] - EPOCHS[0]))
    accelerator.end_training()


def epoch(case: tuple[int, int], n_processes: int, n_threads: int) -> float:
    """Return the seconds of an epoch in fresh interpreters."""
    launcher = "-m torch.distributed.run --standalone --nproc_per_node"
    command = [*launcher.split(), str(n_processes)] if n_processes > 1 else []
    found = subprocess.run(
        [sys.executable, *command, __file__, "--child", *map(str, case)],
        env={**os.environ, "OMP_NUM_THREADS": str(n_threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(found.stdout)


def compared(case: tuple[int, int], rounds: int) -> list[Row]:
    """Compare two processes with one, on one thread and on two."""
    settings = {"2 processes": (2, 1), "1 process": (1, 1), "2 threads": (1, 2)}
    times = turns(
        {n: lambda given=given: epoch(case, *given) for n, given in settings.items()},
        rounds,
    )
    name = f"two layers of {case[0]}, batches of {case[1]}"
    return [
        ratio_row(name, f"epoch / {other}", times["2 processes"], times[other])
        for other in ("1 process", "2 threads")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    rounds = 1 if options.quick else 5
    print_report([row for case in CASES for row in compared(case, rounds)])


if __name__ == "__main__":
    main()
