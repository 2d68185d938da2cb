"""Strategy specs: small objects that name a strategy and hold its settings."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from sklearn.base import BaseEstimator

from skmtl._core.options import Validated


class Spec(Validated, BaseEstimator):
    """Settings of one strategy; builds the real thing when an estimator is fitted."""

    # A spec only stores its arguments, so `get_params`, `clone`, `repr` and nested
    # grids such as `sharing__strength` work as for every scikit-learn estimator.
    # `_parameter_constraints` is checked before any training starts.

    name: ClassVar[str]
    #: What its name alone leaves open, and what to give instead; "" for nothing.
    unsaid: ClassVar[str] = ""
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def validate(self) -> Self:
        """Check the settings.

        Returns
        -------
        self : object
            The spec itself.
        """
        self._validate_params()
        return self


S = TypeVar("S", bound=Spec)


def build_registry(
    base: type[S], namespace: Mapping[str, object]
) -> dict[str, type[S]]:
    """Return the strategies found in a namespace, keyed and sorted by their names."""
    strategies = (
        value
        for value in namespace.values()
        if isinstance(value, type)
        and issubclass(value, base)
        and hasattr(value, "name")  # base classes have none
    )
    return {cls.name: cls for cls in sorted(strategies, key=lambda cls: cls.name)}


def resolve_spec(value: str | S, registry: dict[str, type[S]]) -> S:
    """Return the validated spec that a registry name or a spec stands for."""
    spec = registry[value]() if isinstance(value, str) else value
    return spec.validate()
