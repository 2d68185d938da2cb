"""The parameters of the estimators: one entry each, in one order."""

import inspect
import re

import pytest

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._estimators.parameters import GROUPS

ESTIMATORS = [MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor]
ORDER = [name for group in GROUPS.values() for name in group]


def documented_parameters(cls):
    """Return the parameters in a docstring, and what it says of their types."""
    text = inspect.cleandoc(cls.__doc__)
    section = text.partition("\nParameters\n----------\n")[2]
    section = section.partition("\n\nAttributes\n")[0]
    return dict(re.findall(r"^(\w+) : (.+)$", section, re.MULTILINE))


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_signature_documentation_and_constraints_have_one_order(cls):
    names = list(inspect.signature(cls).parameters)
    assert names == [name for name in ORDER if name in names]
    assert list(documented_parameters(cls)) == names
    assert list(cls._parameter_constraints) == names


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_defaults_are_those_documented(cls):
    documented = documented_parameters(cls)
    for name, parameter in inspect.signature(cls).parameters.items():
        default = documented[name].rpartition("default=")[2]
        shown = "nan" if parameter.default != parameter.default else parameter.default
        shown = f'"{shown}"' if isinstance(shown, str) and shown != "nan" else shown
        assert default == str(shown), name


def test_every_parameter_belongs_to_an_estimator():
    of_estimators = {
        name for cls in ESTIMATORS for name in cls().get_params(deep=False)
    }
    assert of_estimators == set(ORDER)


def test_estimators_agree_on_the_defaults_that_they_share():
    defaults = [
        {p.name: repr(p.default) for p in inspect.signature(cls).parameters.values()}
        for cls in ESTIMATORS
    ]
    for name in ORDER:
        assert len({known[name] for known in defaults if name in known}) == 1
