"""What compile=True gains in an epoch, and what it costs once in a fit.

    python tests/benchmarks/compilation.py [--quick] [--cpu-time] [--device DEVICE]
                                           [--precision PRECISION] [--only NUMBER ...]

prints for each case seconds of an epoch with compilation and without, their ratio, and
what the first fit spends more up to the end of its first epoch, in which compilation
happens, than a fit without; then the same of the fits after it, for which torch keeps
what it has compiled in files. Fits with and without take turns, and the ratio is the
median over rounds of the ratio within a round, each of the median of epochs 2 to 9. An
epoch has eight batches. ``--only`` keeps cases by their number; other options, and how
skmtl is found, are as in speed.py. One thread.
"""

import argparse
import statistics
import warnings

import measure
import torch
from measure import Row, print_report, ratio_row, show_seconds, use_cpu_time
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from speed import RUN, Problem

N_EPOCHS = 9
#: (tasks, width, rows of a batch, settings); the encoder is plain unless it is given.
CASES: list[tuple[int, int, int, dict[str, object]]] = [
    (8, 64, 256, {}),
    (8, 256, 4096, {}),
    (512, 256, 1024, {}),
    (8, 1024, 256, {}),
    (8, 256, 256, {"sharing": "mmoe"}),
    (8, 256, 256, {"sharing": "mmoe", "weighting": "upgrad"}),
    (8, 64, 256, {"encoder": "mlp"}),
    (8, 64, 256, {"encoder": "mlp", "n_estimators": 8}),
    (8, 256, 256, {"sharing": "task_token"}),
]


class Clock(Callback):
    """Reads the clock at the end of every epoch."""

    def on_train_begin(self, net, **kwargs):
        self.ends = [measure.now()]

    def on_epoch_end(self, net, **kwargs):
        self.ends.append(measure.now())


def epochs(problem: Problem, compile: bool, settings: dict) -> tuple[float, float]:
    """Return the time until the end of the first epoch, and that of an epoch."""
    clock, start = Clock(), measure.now()
    problem.model(N_EPOCHS, compile=compile, callbacks=[clock], **settings)
    later = [b - a for a, b in zip(clock.ends[1:], clock.ends[2:], strict=False)]
    return clock.ends[1] - start, statistics.median(later)


def rows_of(case: tuple[int, int, int, dict], rounds: int) -> list[Row]:
    n_tasks, width, batch_size, settings = case
    problem = Problem(8 * batch_size, 64, n_tasks, 2, (width, width), batch_size)
    figures = [
        (epochs(problem, True, settings), epochs(problem, False, settings))
        for _ in range(rounds + 1)
    ]
    once = [ours[0] - theirs[0] for ours, theirs in figures]
    ours, theirs = ([pair[i][1] for pair in figures[1:]] for i in (0, 1))
    known = ", ".join(f"{value}" for value in settings.values())
    name = f"T={n_tasks}, {width} wide, batch {batch_size} {known}".strip()
    return [
        ratio_row(name, "epoch compiled / not", ours, theirs),
        Row(name, "once, first fit", show_seconds(once[:1]), "", once[0], unit="s"),
        Row(
            name,
            "once, fits after it",
            show_seconds(once[1:]),
            "",
            statistics.median(once[1:]),
            unit="s",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--cpu-time", action="store_true", help="on a busy machine")
    parser.add_argument("--device", default="cpu", help="where networks compute")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--only", nargs="*", type=int, default=range(len(CASES)))
    options = parser.parse_args()
    if options.cpu_time:
        use_cpu_time()
    RUN.update(device=options.device, precision=options.precision)
    torch.set_num_threads(1)
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            for number in options.only:
                rows += rows_of(CASES[number], 1 if options.quick else 5)
        finally:
            print_report(rows)


if __name__ == "__main__":
    main()
