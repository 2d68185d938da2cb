"""Do weightings help? Scores of all of them with ``hard`` on real data sets.

    python tests/benchmarks/weighting_scores.py --data FOLDER [--sets NAME ...]
        [--rows N] [--seeds N] [--only WEIGHTING ...] [--early-stopping]
        [--results FILE]

FOLDER holds a ``load.py`` with ``load(name)``, which returns a dict with X, Y (NaN
where a label is missing) and task_types, and ``seeded_split(d, seed)``, which returns
the rows to train and to test on. Estimators have their default settings, which stop
early only where there are many rows; ``--early-stopping`` always stops early.
``independent`` is separate networks with equal weights.

Prints one line per fit, then one table per data set: means over tasks and seeds of the
test's ROC AUC and balanced accuracy (classification) and R2 (regression). The main
score is the mean over tasks of AUC or R2; the table holds by how much it is above that
of equal weights with the same seed: mean, lowest and highest over seeds. Ranks are of
the main score; at the end comes their mean over data sets. ``--rows`` limits the rows
to train on, ``--results`` keeps finished fits, so that a run can be resumed. Seconds
are of CPU time, on one thread.
"""

import argparse
import importlib.util
import json
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from threadpoolctl import threadpool_limits

from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl.weighting import WEIGHTING

SETS = ["tox21", "census_kdd", "scene", "drug", "student"]
MEASURES = ["auc", "accuracy", "r2"]


def loader(folder: Path) -> ModuleType:
    """Import a folder's load.py."""
    spec = importlib.util.spec_from_file_location("load", folder / "load.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"There is no load.py in {folder}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table_of(X: Any) -> Any:
    """Return inputs in which columns of text are categories, "missing" among them."""
    if not isinstance(X, pd.DataFrame):
        return X
    text = X.select_dtypes(exclude="number").columns
    return X.assign(**X[text].fillna("missing").astype("category"))


def rows_of(X: Any, rows: np.ndarray) -> Any:
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def estimator(data: dict[str, Any], name: str, seed: int, stop: bool | str) -> Any:
    """Return the estimator of a weighting, or of separate networks."""
    settings: dict[str, Any] = {
        "random_state": seed,
        "n_estimators": 1,
        "n_threads": 1,
        "early_stopping": stop,
    }
    if name == "independent":
        settings["sharing"] = name
    else:
        settings["weighting"] = name
    if "regression" not in data["task_types"]:
        return MultiTaskClassifier(**settings)
    types = [t if t == "regression" else "classification" for t in data["task_types"]]
    return MultiTaskEstimator(task_types=types, **settings)


def scores(est: Any, data: dict[str, Any], X: Any, Y: np.ndarray) -> dict[str, float]:
    """Return the means over tasks of each measure; labels may be missing."""
    predicted, seen = np.asarray(est.predict(X)), ~np.isnan(Y)
    probabilities = est.predict_proba(X)
    found: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for t, kind in enumerate(data["task_types"]):
        y, z = Y[seen[:, t], t], predicted[seen[:, t], t]
        if kind == "regression":
            found["r2"].append(r2_score(y, z))
            continue
        found["accuracy"].append(balanced_accuracy_score(y, z))
        found["auc"].append(auc(y, probabilities[t][seen[:, t]], est.classes_[t]))
    means = {name: float(np.mean(v)) for name, v in found.items() if v}
    return means | {"main": float(np.mean(found["auc"] + found["r2"]))}


def auc(y: np.ndarray, P: np.ndarray, classes: np.ndarray) -> float:
    """Return the mean over classes of the AUC of each against the rest."""
    known = [k for k, c in enumerate(classes) if 0 < (y == c).sum() < len(y)]
    columns = known[-1:] if len(classes) == 2 else known
    return float(np.mean([roc_auc_score(y == classes[k], P[:, k]) for k in columns]))


def fit(
    data: dict[str, Any],
    module: ModuleType,
    name: str,
    seed: int,
    rows: int,
    stop: bool | str,
) -> dict[str, Any]:
    """Train and test once."""
    train, test = module.seeded_split(data, seed=seed)
    train = np.random.default_rng(seed).permutation(train)[:rows]
    X, est = table_of(data["X"]), estimator(data, name, seed, stop)
    start = time.process_time()
    est.fit(rows_of(X, train), data["Y"][train])
    spent = time.process_time() - start
    found = scores(est, data, rows_of(X, test), data["Y"][test])
    return found | {"seconds": spent, "epochs": est.n_iter_}


def warm_up() -> None:
    """Import what training imports, so that no fit's time has a part in it."""
    X = np.random.default_rng(0).standard_normal((64, 4))
    MultiTaskClassifier(weighting="upgrad", max_iter=1).fit(X, (X[:, :2] > 0) + 0)


def mean(fits: list[dict[str, Any]], key: str) -> str:
    return f"{np.mean([f[key] for f in fits]):.3f}" if key in fits[0] else ""


def show(title: str, fits: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Print one data set's table, best first; return the ranks."""
    main = {name: np.array([f["main"] for f in runs]) for name, runs in fits.items()}
    ranks = rankdata([-values.mean() for values in main.values()])
    places = dict(zip(main, ranks.tolist(), strict=True))
    head = ["weighting", "rank", *MEASURES, "above equal", "range", "seconds", "epochs"]
    print(f"\n{title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name in sorted(places, key=lambda name: places[name]):
        gains = main[name] - main.get("equal", np.nan)
        cells = [name, f"{places[name]:g}", *(mean(fits[name], m) for m in MEASURES)]
        cells += [f"{gains.mean():+.4f}", f"{gains.min():+.4f} to {gains.max():+.4f}"]
        seconds, epochs = (
            np.mean([f[key] for f in fits[name]]) for key in ("seconds", "epochs")
        )
        print("| " + " | ".join([*cells, f"{seconds:.2f}", f"{epochs:.0f}"]) + " |")
    return places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of load.py")
    parser.add_argument("--sets", nargs="*", default=SETS, help="names of data sets")
    parser.add_argument("--rows", type=int, default=5000, help="rows to train on")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--only", nargs="*", metavar="WEIGHTING", help="by name")
    parser.add_argument("--early-stopping", action="store_true", help="on few rows too")
    parser.add_argument("--results", type=Path, help="finished fits, kept here")
    options = parser.parse_args()
    names = ["equal", "independent", *sorted(set(WEIGHTING) - {"equal"})]
    if options.only is not None:
        names = [name for name in names if name in options.only]
    done: dict[str, Any] = {}
    if options.results is not None and options.results.exists():
        for line in options.results.read_text().splitlines():
            done |= json.loads(line)
    torch.set_num_threads(1)
    stop = options.early_stopping or "auto"
    module, places = loader(options.data), []
    warm_up()
    for set_name in options.sets:
        data = module.load(set_name)
        fits: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for name, seed in [(n, s) for s in range(options.seeds) for n in names]:
            key = f"{set_name} {name} {seed} {options.rows} {stop}"
            if key not in done:
                with threadpool_limits(1), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    done[key] = fit(data, module, name, seed, options.rows, stop)
                print(key, done[key], file=sys.stderr, flush=True)
                if options.results is not None:
                    with options.results.open("a") as file:
                        file.write(json.dumps({key: done[key]}) + "\n")
            fits[name].append(done[key])
        n_train = min(options.rows, len(module.seeded_split(data, seed=0)[0]))
        title = f"{set_name}: {data['Y'].shape[1]} tasks, {n_train} rows to train on"
        places.append(show(title, fits))
    print(f"\nMean rank over {len(places)} data sets, {options.seeds} seeds each:")
    overall = {name: np.mean([p[name] for p in places]) for name in names}
    print(", ".join(f"{n} {overall[n]:.1f}" for n in sorted(names, key=overall.get)))


if __name__ == "__main__":
    main()
