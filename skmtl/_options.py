"""Names that parameters allow, and suggestions for those that they do not."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def suggest(given: Any, names: Iterable[Any]) -> str:
    """Return " Did you mean ...?" for what is close to one of the names, else "".

    Parameters
    ----------
    given : object
        What is none of the names.
    names : iterable
        The names.

    Returns
    -------
    str
        To append to an error.
    """
    by_text = {str(name): name for name in names}
    close = get_close_matches(str(given), by_text, 1)
    return f" Did you mean {by_text[close[0]]!r}?" if close else ""
