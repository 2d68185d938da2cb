"""Names that parameters allow, and suggestions for those that they do not."""

import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Any, ClassVar, TypeVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils._param_validation import StrOptions as _StrOptions
from sklearn.utils._param_validation import validate_params as _validate_params
from sklearn.utils.metaestimators import available_if as _available_if

F = TypeVar("F", bound=Callable[..., Any])


def suggest(value: object, names: Iterable[object]) -> str:
    """Return " Did you mean ...?" for what is close to one of the names, else ""."""
    by_text = {str(name): name for name in names}
    close = get_close_matches(str(value), by_text, 1)
    return f" Did you mean {by_text[close[0]]!r}?" if close else ""


def check_path(path: str | os.PathLike[str], parameter: str = "path") -> None:
    """Raise an error unless it names a file or folder."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        error = TypeError if text is None else ValueError
        raise error(
            f"The {parameter!r} parameter must be the path of a file or folder, a str "
            f"or a pathlib.Path, not empty and without null characters. Got {path!r}."
        )


class StrOptions(_StrOptions):  # type: ignore[misc]
    """Strings that a parameter allows, listed in sorted order."""

    def __str__(self) -> str:
        names = ", ".join(map(self._mark_if_deprecated, sorted(self.options)))
        return f"a str among {{{names}}}"


class Interval(_Interval):  # type: ignore[misc]
    """Numbers that a parameter allows, of which booleans are none."""

    def is_satisfied_by(self, val: object) -> bool:
        """Return whether a value lies in the interval and is no boolean."""
        flag = isinstance(val, bool | np.bool_)
        return not flag and bool(super().is_satisfied_by(val))


class Validated:
    """Mixin of what has parameters; its errors suggest close matches."""

    _parameter_constraints: ClassVar[dict[str, Any]]

    def _validate_params(self) -> None:
        try:
            super()._validate_params()  # type: ignore[misc]
        except InvalidParameterError as error:
            params = self.get_params(deep=False)  # type: ignore[attr-defined]
            raise _add_suggestions(error, self._parameter_constraints, params) from None


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]:
    """Return scikit-learn's decorator of fit, which keeps the signature for types."""
    return _fit_context(  # type: ignore[no-any-return]
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )


def available_if(check: Callable[..., bool]) -> Callable[[F], F]:
    """Return scikit-learn's decorator of methods, with the signature kept for types."""
    return _available_if(check)  # type: ignore[no-any-return]


def validate_params(constraints: Mapping[str, Any], **options: Any) -> Callable[[F], F]:
    """Return scikit-learn's decorator, whose errors suggest close matches."""

    def decorate(function: F) -> F:
        @wraps(function)
        def body(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except InvalidParameterError as error:  # of an estimator, whose name stays
                plain = ValueError(str(error))
                for note in getattr(error, "__notes__", ()):
                    plain.add_note(note)
                raise plain from None

        checked = _validate_params(constraints, **options)(body)

        @wraps(checked)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return checked(*args, **kwargs)
            except InvalidParameterError as error:
                arguments = signature(function).bind_partial(*args, **kwargs).arguments
                raise _add_suggestions(error, constraints, arguments) from None

        return call  # type: ignore[return-value]

    return decorate


def _add_suggestions(
    error: InvalidParameterError,
    constraints: Mapping[str, Any],
    params: Mapping[str, object],
) -> InvalidParameterError:
    """Return an error with a suggestion for the string that it is about."""
    for name, value in params.items():
        about = isinstance(value, str) and f"The {name!r} parameter of " in str(error)
        if not about or not isinstance(constraints.get(name), list):
            continue
        names = [
            option
            for constraint in constraints[name]
            if isinstance(constraint, _StrOptions)
            for option in sorted(constraint.options)
        ]
        return InvalidParameterError(f"{error}{suggest(value, names)}")
    return error
