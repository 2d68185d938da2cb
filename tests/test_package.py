"""The README, the reference and the package tell the same story."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import ENCODER
from skmtl.relation import RELATION
from skmtl.sharing import SHARING
from skmtl.weighting import WEIGHTING

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MODULES = [
    "skmtl",
    "skmtl.datasets",
    "skmtl.encoder",
    "skmtl.ensemble",
    "skmtl.exceptions",
    "skmtl.inspection",
    "skmtl.metrics",
    "skmtl.model_selection",
    "skmtl.relation",
    "skmtl.sharing",
    "skmtl.weighting",
]
REGISTRIES = {
    "encoder": ENCODER,
    "relation": RELATION,
    "sharing": SHARING,
    "weighting": WEIGHTING,
}


def public_names(module):
    """Return the names a user may import from a module."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            (isinstance(value, type) and value.__module__.startswith(module.__name__))
            or name.isupper()
        )
    }


def readme_table(family):
    """Return the rows of the README's table of one family of strategies."""
    start = README.index(f"`{family}`: ")
    section = re.split(r"\n`\w+`: |\n## ", README[start + 1 :])[0]
    rows = re.findall(r"^\| `\"(.+)\"` \| `(.+)` \| (.+) \|$", section, re.MULTILINE)
    return {name: (cls, paper) for name, cls, paper in rows}


def test_readme_is_short():
    assert len(README.splitlines()) <= 160


def test_readme_commands_are_one_line_each_and_make_their_environment():
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    main, tests = (block.strip() for block in blocks[:2])
    for command in (main, tests):
        assert "\n" not in command
        assert command.startswith("python3 -m venv .venv")
        assert "-c constraints.txt" in command
    assert main.endswith("python examples/quickstart.py")
    assert '".[test]"' in tests
    assert tests.endswith("pytest")


@pytest.fixture
def few_epochs(monkeypatch):
    """Train for few epochs where an example names no number of them."""
    for cls in (MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator):
        monkeypatch.setitem(cls.__init__.__kwdefaults__, "max_iter", 11)


@pytest.mark.usefixtures("few_epochs")
def test_readme_examples_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks[0].splitlines()) <= 15
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    score, search = capsys.readouterr().out.splitlines()
    assert float(score) > 0.8
    assert float(search.split()[-1]) > 0.8


@pytest.mark.parametrize("family", ["sharing", "weighting", "relation"])
def test_readme_table_equals_the_registry(family):
    table = readme_table(family)
    assert list(table) == list(REGISTRIES[family])
    for name, (cls, paper) in table.items():
        assert REGISTRIES[family][name].__name__ == cls
        assert re.search(r"\b(19|20)\d\d\b", paper), f"{name} has no dated paper"


def test_reference_lists_every_public_name_exactly_once():
    text = (ROOT / "docs" / "api.rst").read_text()
    listed = re.findall(r"^ +~?(skmtl\.[\w.]+)$", text, re.MULTILINE)
    listed += re.findall(r"^\.\. auto\w+:: (skmtl\.[\w.]+)$", text, re.MULTILINE)
    public = [
        f"{name}.{symbol}"
        for name in MODULES
        for symbol in public_names(importlib.import_module(name))
    ]
    assert sorted(listed) == sorted(public)


def test_every_public_module_is_known_here():
    found = [f"skmtl.{m.name}" for m in pkgutil.iter_modules(skmtl.__path__)]
    public = [m for m in found if not m.split(".")[-1].startswith("_")]
    assert sorted([*public, "skmtl"]) == sorted([*MODULES, "skmtl.training"])


def test_all_names_exist():
    for name in skmtl.__all__:
        assert getattr(skmtl, name).__name__ == name
    assert skmtl.__all__ == sorted(skmtl.__all__)


def strategy_files(package):
    """Return the names of a family's files in which a class has a name."""
    modules = [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
    ]
    return {
        module.__name__.rpartition("._")[2]
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
        if isinstance(vars(value).get("name"), str)
    }


@pytest.mark.parametrize("family", sorted(REGISTRIES))
def test_every_strategy_file_is_one_registered_strategy_of_that_name(family):
    package = importlib.import_module(f"skmtl.{family}")
    # What wraps a user's own module is no encoder that a string could name.
    unnamed = {"module"} if family == "encoder" else set()
    assert strategy_files(package) - unnamed == set(REGISTRIES[family])
    for name, cls in REGISTRIES[family].items():
        assert cls.name == name
        assert cls.__module__ == f"skmtl.{family}._{name}"


@pytest.fixture
def one_network(monkeypatch):
    """Train one network where an example names no number of them."""
    for cls in (MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator):
        monkeypatch.setitem(cls.__init__.__kwdefaults__, "n_estimators", 1)


@pytest.mark.usefixtures("few_epochs", "one_network")
@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "docs").glob("*.rst"))
    + sorted((ROOT / "docs/user_guide").glob("*.rst")),
    ids=lambda path: path.name,
)
def test_examples_of_the_docs_run(path):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testfile(
        str(path), module_relative=False, optionflags=flags, encoding="utf-8"
    )
    assert failed == 0


def test_version_is_that_of_the_citation():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", skmtl.__version__)
    assert f"version = {{{skmtl.__version__}}}" in README


def test_package_is_typed():
    assert (ROOT / "skmtl" / "py.typed").exists()


def test_import_and_fit_work_without_packages_that_few_fits_need():
    code = """
import builtins

real = builtins.__import__

def without(name, *args, **kwargs):
    if name.split(".")[0] in {"pandas", "polars", "matplotlib", "rich", "torchjd"}:
        raise ModuleNotFoundError(name)
    return real(name, *args, **kwargs)

builtins.__import__ = without
import skmtl

est = skmtl.MultiTaskClassifier(weighting="upgrad", n_estimators=1, max_iter=1)
print(est.fit([[0.0], [1.0]], [[0, 1], [1, 0]]).predict([[0.0]]).shape)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "(1, 2)"
