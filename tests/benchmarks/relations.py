"""What relations between tasks cost, and what they find where the truth is known.

    python tests/benchmarks/relations.py [--seeds N] [--quick] [--cpu-time]
        [--only PART ...]

runs its parts and prints a table for each; ``--only`` keeps some of them, ``--quick``
has three seeds and fewer rounds, ``--cpu-time`` counts CPU time instead of the wall's.

few-labels
    20 tasks of numbers in groups, 50 labels of each among 400 rows, and 1,000 rows to
    test on; one network. By how much R2, over all tasks, is above that of ``hard``
    without a relation on the same rows: mean and standard deviation over seeds, and in
    how many seeds it is above. In "4 groups of 5" the functions of a group correlate
    by 0.9 and the noise is 0.5, in "2 groups of 10" by 0.95 and 0.1. "unrelated" tasks
    have nothing in common.
groups
    In how many of the seeds `group_tasks` finds the true 2 and 3 groups of 6 to 12
    tasks from the lookahead affinity, with the number of groups given and without;
    1,000 rows, all else by default.
cost
    An epoch with each relation against one without, with 8 and 512 tasks.
affinity
    `task_affinity` with ``every=10`` and by default, against a fit of as many epochs.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from measure import Row, fits, print_report, ratio_row, seconds, turns, use_cpu_time
from threadpoolctl import threadpool_limits

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.datasets import make_multitask_regression
from skmtl.inspection import group_tasks, task_affinity
from skmtl.relation import (
    RELATION,
    Clustered,
    GraphLaplacian,
    LabelGraph,
    TaskCovariance,
    TaskGraph,
)

N_TASKS, N_LABELS, N_TRAIN, N_TEST = 20, 50, 400, 1000
#: Epochs with a graph against those without: how many times as long by tasks.
TARGETS = {8: 1.3, 512: 2.0}
#: Problems of few labels: number of groups, correlation and noise.
PROBLEMS = {
    "4 groups of 5": (4, 0.9, 0.5),
    "2 groups of 10": (2, 0.95, 0.1),
    "unrelated": (N_TASKS, 0.0, 0.5),
}


# ---------------------------------------------------------------------- few labels
def few_labels(
    n_groups: int, relatedness: float, noise: float, seed: int
) -> tuple[Any, ...]:
    """Return rows to train on, those to test on, and the true adjacency."""
    data = make_multitask_regression(
        N_TRAIN + N_TEST,
        groups=[i % n_groups for i in range(N_TASKS)],
        relatedness=relatedness,
        noise=noise,
        return_X_y=False,
        random_state=seed,
    )
    Y = data.Y[:N_TRAIN].copy()
    rank = np.random.default_rng(seed).random(Y.shape).argsort(axis=0).argsort(axis=0)
    Y[rank >= N_LABELS] = np.nan
    train, test = (data.X[:N_TRAIN], Y), (data.X[N_TRAIN:], data.Y[N_TRAIN:])
    return *train, *test, data.relation - np.eye(N_TASKS)


def contestants(n_groups: int, A: np.ndarray) -> dict[str, Any]:
    """Return relations by their names in the table."""
    found: dict[str, Any] = {"none": None}
    if A.any():
        true = {"graph": TaskGraph, "label_graph": LabelGraph}
        true["graph_laplacian"] = GraphLaplacian
        found |= {f"{name}, true": spec(A) for name, spec in true.items()}
        found["clustered, true number"] = Clustered(n_groups)
    for adjacency in ("learned", "correlation", "mutual_information", "attention"):
        found[f"graph, {adjacency}"] = TaskGraph(adjacency)
    names = ("task_covariance", "mean_regularized", "trace_norm", "distillation")
    found |= {name: name for name in names}
    return found | {"task_covariance, published": TaskCovariance(shrinkage=1.0)}


def explained(
    relation: Any, X: Any, Y: Any, X_test: Any, Y_test: Any, seed: int
) -> float:
    """Return R2 over all tasks of one network."""
    est = MultiTaskRegressor(
        relation=relation, n_estimators=1, n_threads=1, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tasks that no row has in common
        error = est.fit(X, Y).predict(X_test) - Y_test
    total = Y_test - Y_test.mean(axis=0)
    return 1 - float((error**2).sum() / (total**2).sum())


def few_labels_table(seeds: int) -> None:
    for title, (n_groups, relatedness, noise) in PROBLEMS.items():
        scores: dict[str, list[float]] = {}
        for seed in range(seeds):
            *data, A = few_labels(n_groups, relatedness, noise, seed)
            for name, relation in contestants(n_groups, A).items():
                scores.setdefault(name, []).append(explained(relation, *data, seed))
        plain = np.array(scores["none"])
        print(f"\n{title}: {N_TASKS} tasks, {N_LABELS} labels each, {seeds} seeds\n")
        print("| relation | R2 | above none | spread | wins |\n|---|---|---|---|---|")
        for name in sorted(scores, key=lambda name: -np.mean(scores[name])):
            gain = np.array(scores[name]) - plain
            cells = [name, f"{np.mean(scores[name]):.3f}", f"{gain.mean():+.3f}"]
            cells += [f"{gain.std(ddof=1):.3f}", f"{(gain > 0).sum()} of {seeds}"]
            print("| " + " | ".join(cells) + " |", flush=True)


# -------------------------------------------------------------------------- groups
def groups_table(seeds: int) -> None:
    print("\n| groups | tasks | number given | auto |\n|---|---|---|---|")
    for n_groups in (2, 3):
        for n_tasks in (6, 8, 9, 10, 12):
            if n_tasks % n_groups:
                continue
            found = [groups_found(n_groups, n_tasks, seed) for seed in range(seeds)]
            given, auto = np.sum(found, axis=0)
            cells = [n_groups, n_tasks, f"{given} of {seeds}", f"{auto} of {seeds}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def groups_found(n_groups: int, n_tasks: int, seed: int) -> tuple[bool, bool]:
    """Return whether the true groups are found, given their number and without."""
    X, Y = make_multitask_regression(
        groups=[i % n_groups for i in range(n_tasks)], random_state=seed
    )
    true = [list(range(k, n_tasks, n_groups)) for k in range(n_groups)]
    est = MultiTaskRegressor(n_threads=1, random_state=seed)
    affinity = task_affinity(est, X, Y)
    given, auto = (group_tasks(affinity, n) for n in (n_groups, "auto"))
    return sorted(given) == true, sorted(auto) == true


# ---------------------------------------------------------------------------- cost
def labels(n_tasks: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 20)).astype(np.float32)
    scores = X @ rng.normal(size=(20, n_tasks)) + rng.normal(size=(n_rows, n_tasks))
    return X, (scores > 0).astype(float)


def training(relation: Any, X: Any, Y: Any) -> Callable[[int], None]:
    est = MultiTaskClassifier(
        relation=relation,
        n_estimators=1,
        early_stopping=False,
        batch_size=200,
        precision="float32",
        n_threads=1,
        random_state=0,
    )
    return lambda epochs: est.set_params(max_iter=epochs).fit(X, Y)


def cost(rounds: int) -> list[Row]:
    """Compare epochs; teachers of a distillation are trained before the first."""
    rows = []
    for n_tasks, n_rows, epochs in ((8, 8000, (2, 8)), (512, 4000, (1, 4))):
        X, Y = labels(n_tasks, n_rows)
        specs = {"none": None} | {n: n for n in sorted(RELATION) if n != "distillation"}
        specs["graph, learned"] = TaskGraph("learned")
        specs["graph, attention"] = TaskGraph("attention")
        contestants = {name: training(spec, X, Y) for name, spec in specs.items()}
        times, _ = fits(contestants, epochs, rounds)
        plain = times.pop("none")
        for name, own in times.items():
            target = TARGETS[n_tasks] if name == "graph" else None
            rows.append(ratio_row(f"T={n_tasks}", f"epoch, {name}", own, plain, target))
    return rows


def affinity(rounds: int) -> list[Row]:
    """Compare with a fit of one member and as many epochs."""
    rows = []
    for n_tasks, n_rows in ((8, 8000), (32, 8000), (128, 4000)):
        X, Y = labels(n_tasks, n_rows)
        est = MultiTaskClassifier(
            n_estimators=1, max_iter=20, batch_size=200, n_threads=1, random_state=0
        )
        contestants: dict[str, Callable[[], Any]] = {
            "fit": partial(est.fit, X, Y),
            "every=10": partial(task_affinity, est, X, Y, every=10),
            "by default": partial(task_affinity, est, X, Y),
        }
        timed = {name: partial(seconds, work) for name, work in contestants.items()}
        times = turns(timed, rounds)
        plain = times.pop("fit")
        for name, own in times.items():
            target = 2.0 if name == "every=10" else None
            case = f"T={n_tasks}"
            rows.append(ratio_row(case, f"task_affinity, {name}", own, plain, target))
    return rows


PARTS = ["few-labels", "groups", "cost", "affinity"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--quick", action="store_true", help="fewer seeds and rounds")
    parser.add_argument("--cpu-time", action="store_true", help="not the wall's")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    if options.cpu_time:
        use_cpu_time()
    seeds, rounds = (3, 3) if options.quick else (options.seeds, 7)
    torch.set_num_threads(1)
    start = time.perf_counter()
    with threadpool_limits(1):
        if "few-labels" in options.only:
            few_labels_table(seeds)
        if "groups" in options.only:
            groups_table(seeds)
        rows = cost(rounds) if "cost" in options.only else []
        rows += affinity(rounds) if "affinity" in options.only else []
    if rows:
        print()
        print_report(rows)
    print(f"\n{time.perf_counter() - start:.0f} s in all.")


if __name__ == "__main__":
    main()
