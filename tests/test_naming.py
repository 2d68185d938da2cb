"""What a machine can check of the names in the package."""

import ast
import re
from pathlib import Path

import pytest

import skmtl

PACKAGE = Path(skmtl.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: Verbs that end as participles do.
VERBS = {"embed", "feed", "need", "seed", "send", "shed"}
#: Participles that end otherwise.
IRREGULAR = {"begun", "chosen", "drawn", "found", "given", "held", "kept", "known"}
IRREGULAR |= {"made", "sent", "shown", "taught", "told"}


def functions(tree):
    """Yield the functions and methods of a file, but for properties."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            decorators = {ast.unparse(d) for d in node.decorator_list}
            if not any("property" in d or ".setter" in d for d in decorators):
                yield node


def is_participle(name):
    """Tell a name such as "solved" or "_kept", which says no action."""
    word = name.strip("_")
    ends = re.fullmatch(r"[a-z]+ed", word) and word not in VERBS
    return bool(ends) or word in IRREGULAR


def has_of(name):
    """Tell "of", "of_rows" and "outputs_of", in place of a verb."""
    word = name.strip("_")
    return word == "of" or word.startswith("of_") or word.endswith("_of")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_are_named_as_agreed(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module says in one sentence what is inside"
    wrong = [f.name for f in functions(tree) if is_participle(f.name)]
    wrong += [f.name for f in functions(tree) if has_of(f.name)]
    assert not wrong, "functions begin with a verb"


@pytest.mark.parametrize("name", ["joined", "_kept", "of", "_of_rows", "outputs_of"])
def test_names_without_a_verb_are_found(name):
    assert is_participle(name) or has_of(name)


@pytest.mark.parametrize("name", ["join", "_embed", "offset", "profile", "seed"])
def test_names_with_a_verb_are_not(name):
    assert not is_participle(name)
    assert not has_of(name)
