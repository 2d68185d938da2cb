"""Candidates by name, and which of them the others are held against."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import ParameterGrid

from skmtl._estimators.base import MultiTaskBase
from skmtl.metrics._unwrap import unwrap_pipeline

#: What shares nothing.
INDEPENDENT = {"sharing": "independent", "relation": None}
#: The baseline that is added where it is missing.
ADDED = "independent"


def read_candidates(
    estimators: Mapping[str, object] | Sequence[object] | None,
    param_grid: object,
    baseline: Any,
) -> tuple[dict[str, Any], str]:
    """Return candidates by name, an added baseline first, and the baseline's name."""
    if isinstance(estimators, Mapping):
        candidates = _read_dict(estimators, param_grid)
    else:
        candidates = _make_grid(estimators, param_grid)
    if baseline in candidates:
        return candidates, baseline
    if baseline != ADDED:
        raise ValueError(
            "The 'baseline' parameter of compare_sharing must be the name of a "
            f"candidate, one of {list(candidates)}, or {ADDED!r}. Got {baseline!r}."
        )
    return {ADDED: _make_independent(candidates), **candidates}, ADDED


def _read_dict(estimators: Mapping[Any, Any], param_grid: object) -> dict[str, Any]:
    """Return a checked copy of a dict of candidates."""
    if param_grid is not None:
        raise ValueError(
            "The 'param_grid' parameter of compare_sharing is for a single estimator. "
            "Got a dict of estimators beside it: add the candidates to the dict."
        )
    for name, estimator in estimators.items():
        if not isinstance(name, str) or not hasattr(estimator, "fit"):
            raise ValueError(
                "The 'estimators' parameter of compare_sharing must be an estimator or "
                f"a dict of estimators by name. Got {name!r}: {estimator!r}."
            )
    if not estimators:
        raise ValueError(
            "The 'estimators' parameter of compare_sharing must hold at least one "
            "candidate. Got an empty dict."
        )
    return dict(estimators)


def _make_grid(estimator: BaseEstimator, param_grid: object) -> dict[str, Any]:
    """Return a copy of the estimator for each setting, named after it."""
    if not hasattr(estimator, "fit"):
        raise ValueError(
            "The 'estimators' parameter of compare_sharing must be an estimator or a "
            f"dict of estimators by name. Got {estimator!r}."
        )
    last, prefix = unwrap_pipeline(estimator)
    grid = list(ParameterGrid(param_grid or {}))
    names = [_make_name(settings, last, prefix) for settings in grid]
    repeats = [name for name, count in Counter(names).items() if count > 1]
    if repeats:
        raise ValueError(
            "The 'param_grid' parameter of compare_sharing must hold each candidate "
            f"once. Got {repeats} more than once."
        )
    return {
        name: clone(estimator).set_params(**settings)
        for name, settings in zip(names, grid, strict=True)
    }


def _make_name(settings: Mapping[str, Any], last: BaseEstimator, prefix: str) -> str:
    """Return the value of a single setting, or all settings with their names."""
    if not settings:
        return _format_value(getattr(last, "sharing", type(last).__name__))
    if len(settings) == 1:
        return _format_value(*settings.values())
    pairs = settings.items()
    return ", ".join(
        f"{key.removeprefix(prefix)}={_format_value(v)}" for key, v in pairs
    )


def _format_value(value: object) -> str:
    """Return a value of a parameter on one line."""
    words = value if isinstance(value, str) else repr(value)
    return " ".join(words.split())


def _make_independent(candidates: Mapping[str, Any]) -> Any:
    """Return the first estimator of skmtl such that its tasks share nothing."""
    for estimator in candidates.values():
        if isinstance(unwrap_pipeline(estimator)[0], MultiTaskBase):
            copy = clone(estimator)
            unwrap_pipeline(copy)[0].set_params(**INDEPENDENT)
            return copy
    raise ValueError(
        "The 'baseline' parameter of compare_sharing must be the name of a candidate "
        f"where none is an estimator of skmtl, one of {list(candidates)}. Got "
        f"{ADDED!r}."
    )
