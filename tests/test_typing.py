"""Types as users' type checkers and editors see them."""

import importlib
import inspect
import json
import re
import subprocess
import sys
import types
import typing
from collections.abc import Callable
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
)

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor

ROOT = Path(__file__).parents[1]
# Lines with an error are marked; mypy allows any attribute of a class with a base
# that has no types.
SCRIPT = '''
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.inspection import sharing_gain
from skmtl.model_selection import (
    SharingComparisonDisplay,
    TaskWeightSearchCV,
    compare_sharing,
)
from skmtl.relation import GraphLaplacian
from skmtl.sharing import Additive, Chain, Grouped
from skmtl.weighting import Static

X: NDArray[np.float64] = np.zeros((20, 3))
Y: NDArray[np.int64] = np.zeros((20, 2), dtype=np.int64)


class Narrow(MultiTaskClassifier):
    """A subclass of a user."""


classifier = MultiTaskClassifier(
    Additive(strength=0.1),
    encoder=MLP((8, 8)),
    weighting=Static(np.ones(2)),
    relation="graph_laplacian",
    optimizer=torch.optim.SGD,
    n_iter_no_change=float("inf"),
    batch_size="auto",
    n_estimators=2,
    resampling="bootstrap",
    class_weight=["balanced", {0: 1.0, 1: 2.0}],
    task_weight=np.ones(2),
    device=torch.device("cpu"),
    random_state=np.random.RandomState(0),
).fit(X, Y)
assert_type(classifier, MultiTaskClassifier)
assert_type(classifier.fit(X, Y, sample_weight=np.ones(20)), MultiTaskClassifier)
assert_type(classifier.partial_fit(X, Y, classes=[[0], [0]]), MultiTaskClassifier)
assert_type(classifier.set_params(alpha=0.1), MultiTaskClassifier)
assert_type(classifier.set_fit_request(sample_weight=True), MultiTaskClassifier)
assert_type(classifier.get_params(), dict[str, Any])
assert_type(Narrow().fit(X, Y), Narrow)
regressor = MultiTaskRegressor(
    encoder=torch.nn.Identity, relation=GraphLaplacian(), device="cpu"
)
assert_type(regressor.fit(X, Y), MultiTaskRegressor)
assert_type(regressor.set_params(sharing=Grouped([[0, 1]])), MultiTaskRegressor)
assert_type(regressor.partial_fit(X, Y), MultiTaskRegressor)
mixed = MultiTaskEstimator(Chain(np.arange(2)), relation=None, random_state=0)
assert_type(mixed.fit(X, Y), MultiTaskEstimator)
assert_type(mixed.partial_fit(X, Y), MultiTaskEstimator)
assert_type(mixed.predict_proba(X), Any)

assert_type(
    classifier.classes_, NDArray[Any] | list[NDArray[Any]]
)
assert_type(classifier.n_classes_, int | list[int])
assert_type(classifier.thresholds_, NDArray[np.float64])
assert_type(classifier.n_tasks_, int)
assert_type(classifier.task_names_, list[Any])
assert_type(classifier.n_features_in_, int)
assert_type(classifier.n_iter_, int)
assert_type(classifier.loss_, float)
assert_type(classifier.loss_curve_, list[float])
assert_type(classifier.best_validation_score_, float)
assert_type(classifier.task_weights_, NDArray[np.float64])
assert_type(classifier.module_, torch.nn.Module)
assert_type(classifier.oof_score_, float)
assert_type(classifier.oof_scores_, NDArray[np.float64])
assert_type(classifier.oof_prediction_, list[NDArray[Any]])
assert_type(classifier.predict(X), NDArray[Any])
assert_type(classifier.score(X, Y), float)

task = classifier.task_estimator(0)
assert_type(task.fit(X, Y[:, 0]).predict_proba(X), NDArray[Any])
assert_type(task.classes_, NDArray[Any])
assert_type(regressor.task_estimator("task0").predict(X), NDArray[Any])

search = TaskWeightSearchCV(classifier, n_candidates=3).fit(X, Y)
assert_type(search, TaskWeightSearchCV)
assert_type(search.best_weights_, NDArray[np.float64])
assert_type(sharing_gain(classifier, X, Y).delta_m, float)
assert_type(compare_sharing(classifier, X, Y).plot(), SharingComparisonDisplay)

skmtl.save(classifier, "model.skmtl")
model = skmtl.load("model.skmtl")
assert_type(model, MultiTaskClassifier | MultiTaskRegressor | MultiTaskEstimator)
assert_type(model.predict(X), NDArray[Any])
model.predict_proba(X)  # pyright
assert isinstance(model, MultiTaskClassifier)
model.predict_proba(X)

classifier.fit(X)  # error
classifier.partial_fit(X, Y, weights=None)  # error
classifier.no_such_  # pyright
MultiTaskClassifier(relation=5)  # error
MultiTaskRegressor(alpha="0.1")  # error
MultiTaskEstimator(no_such=1)  # error
skmtl.load(5)  # error
skmtl.save("model.skmtl", classifier)  # error
'''
MYPY = """
[mypy]
strict = true
[mypy-skmtl.*]
follow_imports = silent
# What takes long to read; pyright reads it.
[mypy-torch.*,torchjd.*,skorch.*,pandas.*,polars.*,pyarrow.*,matplotlib.*,narwhals.*]
follow_imports = skip
"""
PYRIGHT = {"typeCheckingMode": "strict", "reportUnusedExpression": False}


def lines_with_errors(marks):
    """Return the numbers of the lines of the script that are marked."""
    found = re.compile(rf"  # ({marks})$")
    lines = SCRIPT.splitlines()
    return [i for i, line in enumerate(lines, start=1) if found.search(line)]


def check(folder, module, *options):
    """Run a type checker on the script."""
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", module, *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.mark.one_version
@pytest.mark.skipif(find_spec("mypy") is None, reason="needs mypy")
def test_mypy_knows_the_types_of_a_script(tmp_path, monkeypatch):
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    (tmp_path / "mypy.ini").write_text(MYPY)
    run = check(tmp_path, "mypy", "script.py")
    lines = re.findall(r"^script\.py:(\d+): error", run.stdout, re.MULTILINE)
    assert sorted({int(i) for i in lines}) == lines_with_errors("error"), run.stdout
    assert re.findall(r"^(?!script|Found).+", run.stdout, re.MULTILINE) == []


@pytest.mark.one_version
@pytest.mark.skipif(find_spec("basedpyright") is None, reason="needs basedpyright")
def test_pyright_knows_the_types_of_a_script(tmp_path):
    settings = {**PYRIGHT, "include": ["script.py"], "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    options = ("--outputjson", "--pythonpath", sys.executable)
    run = check(tmp_path, "basedpyright", *options)
    errors = json.loads(run.stdout)["generalDiagnostics"]
    lines = sorted({error["range"]["start"]["line"] + 1 for error in errors})
    assert lines == lines_with_errors("error|pyright"), run.stdout


@pytest.mark.parametrize(
    "cls", [MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator]
)
def test_documented_attributes_have_types_and_no_values(cls):
    section = cls.__doc__.split("Attributes\n----------\n")[1].split("\nSee Also")[0]
    names = re.findall(r"^(\w[\w, ]*) : ", section, re.MULTILINE)
    for name in ", ".join(names).split(", "):
        if isinstance(inspect.getattr_static(cls, name, None), property):
            assert "return" in getattr(cls, name).fget.__annotations__, name
        else:
            assert any(name in vars(c).get("__annotations__", {}) for c in cls.__mro__)
        assert not hasattr(cls(), name)


def public_signatures():
    """Return constraints and types of parameters of all public names that have them."""
    seen = {}
    for name in ("", ".encoder", ".relation", ".sharing", ".weighting", ".datasets"):
        seen.update(vars(importlib.import_module(f"skmtl{name}")))
    for name in (".inspection", ".metrics", ".model_selection"):
        seen.update(vars(importlib.import_module(f"skmtl{name}")))
    for name, value in sorted(seen.items()):
        constraints = getattr(value, "_skl_parameter_constraints", None)
        if constraints is None:
            constraints = getattr(value, "_parameter_constraints", None)
        if constraints and not name.startswith("_"):
            function = value.__init__ if isinstance(value, type) else value
            yield name, constraints, function


def allowed_types(constraint):
    """Return types of which a constraint of scikit-learn allows values."""
    names = {
        "array-like": {list},
        "boolean": {bool},
        "random_state": {int, np.random.RandomState, type(None)},
        "verbose": {int, bool},
        "cv_object": {int, type(None)},
    }
    if isinstance(constraint, StrOptions):
        return {str}
    if isinstance(constraint, Interval | Options):
        return {int} if constraint.type is Integral else {float, int}
    if constraint is None or constraint is callable:
        return {type(None) if constraint is None else type}
    if isinstance(constraint, HasMethods):
        return set()
    if isinstance(constraint, type):
        return {int if constraint is Integral else constraint} - {typing.Any}
    return names.get(constraint, set())


def admits(annotation, cls):
    """Return whether an annotation admits values of a type."""
    origin = typing.get_origin(annotation)
    if annotation in (typing.Any, object):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(admits(entry, cls) for entry in typing.get_args(annotation))
    if cls is type:
        return origin in (type, Callable)
    origin = origin or annotation
    return issubclass(cls, origin) or (origin is float and cls is int)


def test_annotations_admit_what_parameters_allow():
    signatures = list(public_signatures())
    assert len(signatures) > 60
    refused = []
    for name, constraints, function in signatures:
        hints = typing.get_type_hints(function)
        for parameter, entries in constraints.items():
            if entries == "no_validation" or parameter not in hints:
                continue
            for entry in entries:
                for cls in allowed_types(entry):
                    if not admits(hints[parameter], cls):
                        refused.append(f"{name}({parameter}: {cls.__name__})")
    assert not refused, "\n".join(refused)
