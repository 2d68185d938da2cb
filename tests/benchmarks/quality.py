"""Is skmtl the best first choice? Scores and seconds of models on many data sets.

    python tests/benchmarks/quality.py --out FILE [--data FOLDER] [--sets NAME ...]
        [--models NAME ...] [--model NAME=EXPRESSION ...] [--seeds N ...] [--quick]
        [--max-rows N] [--jobs N] [--again | --retry] [--focus NAME ...]
        [--report FOLDER]

FOLDER of ``--data`` holds a ``load.py`` with ``names()``, ``load(name)``, which returns
a dict with X, Y (NaN where a label is missing), task_types and perhaps the names of
categorical columns, and perhaps ``seeded_split(d, seed)``, which returns the rows to
train and to test on. Without it, scikit-learn's own data are used, and without a split
a quarter of the rows, drawn by the seed, is tested on.

``--model`` adds a model for one run: an expression with skmtl's names, in which
``Estimator`` is the class that suits a set's tasks, such as
``--model "wide=Estimator(encoder=MLP((512,)))"``. To add one for good, see
quality_models.py.

Finished fits are kept in the file of ``--out``, one JSON object per line, and are not
run again; nor are failed ones, whose message is kept. ``--retry`` runs those,
``--again`` all that are asked for. The tables hold what the file has of the models
named and of the baselines, or of all models with ``--models`` and no name, which runs
nothing. ``--focus`` names those that are held against the baselines, and ``--report``
writes the tables of the first as reStructuredText, and plots.

Every fit has one thread, and ``--jobs`` of them run at once, each on a set of its own;
seconds are of CPU time.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import quality_data
import quality_models
import quality_report
import torch
from joblib import Parallel, delayed
from quality_data import DataSet
from quality_scores import scores
from threadpoolctl import threadpool_limits

import skmtl

Cell = dict[str, Any]

#: Rows to train on with --quick.
QUICK_ROWS = 300
#: What tells cells apart.
KEY = ("set", "model", "expression", "seed", "max_rows")


def key(cell: Cell) -> tuple[Any, ...]:
    return tuple(cell[name] for name in KEY)


def read(path: Path) -> list[Cell]:
    """Return the cells that are kept, in the order in which they were run."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def measured(data: DataSet, cell: Cell) -> Cell:
    """Fit and test once."""
    train, test = data.split(cell["seed"], cell["max_rows"])
    est = quality_models.build(cell["model"], cell["expression"], data, cell["seed"])
    X, Y, unseen = data.rows(train), data.Y[train], data.rows(test)
    start = time.process_time()
    est.fit(X, Y)
    fitted = time.process_time()
    predicted = est.predict(unseen)
    done = time.process_time()
    sizes = {"n_train": len(train), "n_test": len(test), "n_tasks": Y.shape[1]}
    seconds = {"fit_s": fitted - start, "predict_s": done - fitted}
    return sizes | seconds | scores(data, est, predicted, (train, test))


def attempted(data: DataSet, cell: Cell) -> Cell:
    """Fit and test once, or say why that failed."""
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cell | measured(data, cell)
    except Exception as error:  # noqa: BLE001 - one model's failure is a result
        return cell | {"error": f"{type(error).__name__}: {error}"}


def warm_up() -> None:
    """Import what training imports, so that no fit's time has a part in it."""
    X, Y = quality_data.load("iris", None).X, quality_data.load("iris", None).Y
    skmtl.MultiTaskEstimator(max_iter=1).fit(X, Y)


def run_set(name: str, cells: list[Cell], folder: Path | None, out: Path) -> None:
    """Run all cells of a set, and keep each as soon as it is there."""
    torch.set_num_threads(1)
    warm_up()
    data = quality_data.load(name, folder)
    for cell in cells:
        result = attempted(data, cell)
        with out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(json.dumps(result), file=sys.stderr, flush=True)


def wanted(options: argparse.Namespace) -> list[Cell]:
    """Return all cells that are asked for, without results."""
    models = dict.fromkeys(options.models) | options.model
    sets = options.sets or quality_data.names(options.data)
    return [
        dict(zip(KEY, (s, m, models[m], seed, options.max_rows), strict=True))
        for s in sets
        for seed in options.seeds
        for m in models
    ]


def run(options: argparse.Namespace) -> None:
    """Run what is asked for and not there."""
    kept = {key(cell): cell for cell in read(options.out)}
    cells = wanted(options)
    if not options.again:
        cells = [
            c
            for c in cells
            if key(c) not in kept or (options.retry and "error" in kept[key(c)])
        ]
    sets: dict[str, list[Cell]] = {}
    for cell in cells:
        sets.setdefault(cell["set"], []).append(cell)
    Parallel(n_jobs=options.jobs)(
        delayed(run_set)(name, some, options.data, options.out)
        for name, some in sets.items()
    )


def chosen(options: argparse.Namespace) -> list[Cell]:
    """Return the kept cells that the options name, the latest of each model."""
    models = {*options.models, *options.model}
    shown = models | {*options.focus, *quality_report.BASELINES}
    sets = options.sets or quality_data.names(options.data)
    latest = {
        (cell["set"], cell["seed"], cell["model"]): cell
        for cell in read(options.out)
        if cell["set"] in sets
        and cell["seed"] in options.seeds
        and cell["max_rows"] == options.max_rows
        and (cell["model"] in shown or not models)
    }
    return list(latest.values())


def expression(text: str) -> tuple[str, str]:
    name, _, code = text.partition("=")
    if not code:
        raise argparse.ArgumentTypeError(f"must be NAME=EXPRESSION. Got {text!r}.")
    return name.strip(), code.strip()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="finished fits are kept here")
    add("--data", type=Path, help="folder of data sets")
    add("--sets", nargs="+", help="names of sets; without, all but heavy ones")
    add("--models", nargs="*", default=list(quality_models.MODELS), help="by name")
    add("--model", type=expression, action="append", default=[], metavar="NAME=CODE")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--quick", action="store_true", help=f"one seed, {QUICK_ROWS} rows")
    add("--max-rows", type=int, help="rows to train on at most")
    add("--jobs", type=int, default=1, help="sets to run at once")
    add("--again", action="store_true", help="run also what is there")
    add("--retry", action="store_true", help="run also what failed")
    add("--focus", nargs="+", default=[], help="models to hold against baselines")
    add("--report", type=Path, help="folder to write tables and plots to")
    options = parser.parse_args()
    options.model = dict(options.model)
    if options.quick:
        options.seeds, options.max_rows = options.seeds[:1], QUICK_ROWS
    if not {*options.focus, *options.model}.isdisjoint(quality_report.BASELINES):
        parser.error(f"--focus and --model must not be of {quality_report.BASELINES}.")
    for name in set(options.models) - set(quality_models.MODELS):
        parser.error(
            f"--models must be of {list(quality_models.MODELS)}. Got {name!r}."
        )
    return options


def main() -> None:
    options = parsed()
    for package in quality_models.MISSING:
        print(f"{package} is not installed: without it.", file=sys.stderr)
    run(options)
    focus = options.focus or [*options.model] or ["skmtl"]
    quality_report.show(chosen(options), focus, options.report)


if __name__ == "__main__":
    main()
