"""Do relations help? Scores of all of them with ``hard`` on real data sets.

    python tests/benchmarks/relation_scores.py [--data FOLDER] [--sets NAME ...]
        [--seeds N] [--only RELATION ...] [--members N] [--results FILE]

FOLDER is that of quality.py; without one, scikit-learn's own sets are used. Estimators
have their default settings but for the relation. ``independent`` shares nothing.

Prints one line per fit, then one table per data set: the mean over tasks and seeds of
the test's ROC AUC and log-loss (classes), or of the squared error as a share of that of
each task's mean (numbers, "error"), and the share of variance explained over the rows
of all tasks ("explained"). The last columns hold by how much the first of them is
better than without a relation on the same split: mean and standard deviation over
seeds, and in how many of them. Relations that are estimated from labels are left out
where no two tasks have rows in common, as where each row is of one task. ``--results``
keeps finished fits, so that a run can be resumed. Seconds are of CPU time, on one
thread.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import quality_data
import torch
from quality_data import DataSet
from quality_scores import scores
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.relation import RELATION, LabelGraph, TaskGraph

SETS = ["emotions", "scene", "tox21", "school"]
#: Relations that are estimated from rows where several tasks have labels.
ESTIMATED = ["graph", "label_graph", "graph_laplacian"]
#: Names of the scores in the tables, and whether more of it is better.
COLUMNS = {"auc": True, "log_loss": False, "arrmse": False, "explained": True}


def relations(data: DataSet) -> dict[str, dict[str, Any]]:
    """Return settings of the estimators by their names in the table."""
    settings: dict[str, dict[str, Any]] = {"none": {}}
    settings |= {"independent": {"sharing": "independent"}}
    settings |= {name: {"relation": name} for name in sorted(RELATION)}
    for adjacency in ("mutual_information", "learned", "attention"):
        settings[f"graph, {adjacency}"] = {"relation": TaskGraph(adjacency)}
    if (~np.isnan(data.Y)).sum(axis=1).max() < 2:
        for name in [*ESTIMATED, "graph, mutual_information"]:
            del settings[name]
        everyone = np.ones((data.Y.shape[1], data.Y.shape[1]))
        for spec in (TaskGraph, LabelGraph):
            settings[f"{spec.name}, all alike"] = {"relation": spec(everyone)}
    return settings


def estimator(data: DataSet) -> Any:
    """Return the estimator of the tasks' kinds."""
    kinds = set(data.kinds)
    if kinds == {"classification"}:
        return MultiTaskClassifier(n_threads=1)
    if kinds == {"regression"}:
        return MultiTaskRegressor(n_threads=1)
    return MultiTaskEstimator(task_types=data.kinds, n_threads=1)


def explained(data: DataSet, predicted: Any, rows: Any) -> dict[str, float]:
    """Return the share of variance explained over the rows of all tasks of numbers."""
    numeric = [t for t, kind in enumerate(data.kinds) if kind == "regression"]
    if not numeric:
        return {}
    Y = data.Y[rows][:, numeric]
    seen = ~np.isnan(Y)
    y, z = Y[seen], np.asarray(predicted)[:, numeric][seen]
    return {"explained": float(1 - ((y - z) ** 2).sum() / ((y - y.mean()) ** 2).sum())}


def fit(data: DataSet, est: Any, seed: int) -> dict[str, Any]:
    """Train and test once."""
    rows = data.split(seed)
    train, test = rows
    est = clone(est).set_params(random_state=seed)
    start = time.process_time()
    est.fit(data.rows(train), data.Y[train])
    spent = time.process_time() - start
    predicted = est.predict(data.rows(test))
    found = scores(data, est, predicted, rows) | explained(data, predicted, test)
    found = {name: found[name] for name in COLUMNS if name in found}
    return found | {"seconds": spent}


def show(title: str, fits: dict[str, list[dict[str, Any]]]) -> None:
    """Print one data set's table, best first."""
    columns = [name for name in COLUMNS if name in fits["none"][0]]
    main, sign = columns[0], 1 if COLUMNS[columns[0]] else -1
    plain = fits["none"]
    gains = {
        name: [sign * (a[main] - b[main]) for a, b in zip(runs, plain, strict=True)]
        for name, runs in fits.items()
    }
    head = ["relation", *columns, f"{main} better by", "spread", "wins", "seconds"]
    print(f"\n{title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name in sorted(fits, key=lambda name: -np.mean(gains[name])):
        means = [np.mean([f[c] for f in fits[name]]) for c in columns]
        gain, wins = np.array(gains[name]), sum(g > 0 for g in gains[name])
        spread = gain.std(ddof=1) if len(gain) > 1 else np.nan
        cells = [name, *(f"{m:.4f}" for m in means)]
        cells += [f"{gain.mean():+.4f}", f"{spread:.4f}", f"{wins} of {len(gain)}"]
        seconds = np.mean([f["seconds"] for f in fits[name]])
        print("| " + " | ".join([*cells, f"{seconds:.1f}"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of load.py")
    parser.add_argument("--sets", nargs="*", help="names of data sets")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--only", nargs="*", metavar="RELATION", help="by name")
    parser.add_argument("--members", type=int, help="number of members")
    parser.add_argument("--results", type=Path, help="finished fits, kept here")
    options = parser.parse_args()
    done: dict[str, Any] = {}
    if options.results is not None and options.results.exists():
        for line in options.results.read_text().splitlines():
            done |= json.loads(line)
    torch.set_num_threads(1)
    own = quality_data.names(None) if options.data is None else SETS
    for set_name in options.sets or own:
        data = quality_data.load(set_name, options.data)
        est = estimator(data).set_params(n_estimators=options.members or "auto")
        settings = relations(data)
        if options.only is not None:
            kept = {"none", *options.only}
            settings = {name: s for name, s in settings.items() if name in kept}
        fits: dict[str, list[dict[str, Any]]] = {name: [] for name in settings}
        for name, seed in [(n, s) for s in range(options.seeds) for n in settings]:
            key = f"{set_name} {name} {seed} {options.members}"
            if key not in done:
                with threadpool_limits(1), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    setting = clone(est).set_params(**settings[name])
                    done[key] = fit(data, setting, seed)
                print(key, done[key], file=sys.stderr, flush=True)
                if options.results is not None:
                    with options.results.open("a") as file:
                        file.write(json.dumps({key: done[key]}) + "\n")
            fits[name].append(done[key])
        n_train = len(data.split(0)[0])
        title = f"{set_name}: {data.Y.shape[1]} tasks, {n_train} rows to train on"
        show(title, fits)


if __name__ == "__main__":
    main()
