"""How the benchmarks measure: contestants take turns, ratios are within rounds."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
import skorch
import torch

import skmtl

Contestant = Callable[[int], None]

#: What times are read from; CPU time where the machine is shared.
CLOCK = time.perf_counter


def use_cpu_time() -> None:
    """Count CPU time instead of the wall's."""
    global CLOCK
    CLOCK = time.process_time


def turns(contestants: dict[str, Callable[[], float]], rounds: int) -> dict:
    """Let contestants take turns; return each one's figure in every round."""
    names = list(contestants)
    for name in names:  # warm up
        contestants[name]()
    figures: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            figures[name].append(contestants[name]())
    return figures


def seconds(function: Callable[[], object]) -> float:
    """Return how long a function takes, with all that it leaves a card to do."""
    start = now()
    function()
    return now() - start


def now() -> float:
    """Return what the clock says once a card has nothing left to do."""
    _wait()
    return CLOCK()


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def fits(
    contestants: dict[str, Contestant], epochs: tuple[int, int], rounds: int
) -> tuple[dict, dict]:
    """Return the times of an epoch and of the longer fit, per contestant and round."""
    whole: dict[str, list[float]] = {name: [] for name in contestants}

    def epoch(name: str) -> float:
        few, many = (seconds(lambda e=e: contestants[name](e)) for e in epochs)
        whole[name].append(many)
        return (many - few) / (epochs[1] - epochs[0])

    times = turns({name: lambda n=name: epoch(n) for name in contestants}, rounds)
    return times, {name: values[1:] for name, values in whole.items()}


@dataclass
class Row:
    case: str
    measure: str
    ours: str
    theirs: str
    value: float
    spread: str = ""
    target: float | None = None
    unit: str = "x"

    def cells(self) -> list[str]:
        met = (
            "" if self.target is None else "yes" if self.value <= self.target else "NO"
        )
        target = "" if self.target is None else f"<= {self.target:g} {self.unit}"
        result = f"{self.value:.2f} {self.unit}"
        return [
            self.case,
            self.measure,
            self.ours,
            self.theirs,
            result,
            self.spread,
            target,
            met,
        ]


def show_seconds(values: Sequence[float]) -> str:
    value = statistics.median(values)
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def ratio_row(
    case: str,
    measure: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: float | None = None,
) -> Row:
    """Compare two contestants by the median ratio within rounds."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, high = np.quantile(ratios, [0.25, 0.75])
    return Row(
        case,
        measure,
        show_seconds(ours),
        show_seconds(theirs),
        statistics.median(ratios),
        f"{low:.2f}-{high:.2f}",
        target,
    )


def print_table(rows: Sequence[Row]) -> None:
    head = ["case", "measure", "skmtl", "other", "result", "quartiles", "target", "met"]
    table = [head, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    for i, line in enumerate(table):
        print(
            "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)),
            "|",
        )
        if i == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")


def print_report(rows: Sequence[Row]) -> None:
    """Print versions, the table, and how many targets are met."""
    print(
        f"skmtl {skmtl.__version__}, torch {torch.__version__}, scikit-learn "
        f"{sklearn.__version__}, skorch {skorch.__version__}, numpy {np.__version__}, "
        f"Python {platform.python_version()}; {torch.get_num_threads()} torch thread"
    )
    if torch.cuda.is_initialized():
        print(torch.cuda.get_device_name())
    clock = "CPU" if CLOCK is time.process_time else "wall"
    print(f"Medians of {clock} times, and of the ratios within rounds.\n")
    print_table(rows)
    missed = sum(row.cells()[-1] == "NO" for row in rows)
    n_targets = sum(row.target is not None for row in rows)
    print(f"\n{n_targets - missed} of {n_targets} targets met.")
