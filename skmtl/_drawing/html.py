"""The few pieces of HTML that a report is made of; what users named is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from skmtl._core.printable import escape_text

#: What stands for nothing, and for a minus.
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


class Markup(str):
    """HTML, which is not escaped again."""

    __slots__ = ()


def escape_html(value: object) -> str:
    """Return a value as HTML."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return DASH
    if isinstance(value, float | np.floating):
        return f"{value:#.4g}".replace("-", MINUS)
    return escape(escape_text(value))


def make_table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Markup:
    """Return a table, whose first column names the rows."""
    rows = list(rows)
    numeric = [all(map(_is_number, column)) for column in zip(*rows, strict=True)]
    head = "".join(
        f'<th scope="col"{" class=number" * number}>{escape_html(name)}</th>'
        for name, number in zip(header, numeric or [False] * len(header), strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{escape_html(first)}</th>'
        f"{''.join(map(_make_cell, cells))}</tr>\n"
        for first, *cells in rows
    )
    return Markup(
        f'<div class="wide"><table><caption>{escape_html(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def _make_cell(value: object) -> str:
    return f"<td{' class=number' * _is_number(value)}>{escape_html(value)}</td>"


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float | np.number)


def make_figure(picture: str, caption: str) -> Markup:
    """Return a picture with a caption."""
    return Markup(
        f'<figure><div class="wide">{picture}</div>\n'
        f"<figcaption>{escape_html(caption)}</figcaption></figure>\n"
    )


def make_paragraph(words: str) -> Markup:
    """Return a paragraph."""
    return Markup(f"<p>{escape_html(words)}</p>\n")


def join_markup(*parts: str) -> Markup:
    """Return pieces of HTML one after the other."""
    return Markup("".join(parts))


def make_bar(shares: Sequence[float]) -> Markup:
    """Return a bar that is divided into shares; the words beside it say the same."""
    parts = "".join(f'<i style="flex-grow:{share:.4f}"></i>' for share in shares)
    return Markup(f'<span class="bar" aria-hidden="true">{parts}</span>')
