"""Names and labels as text that a terminal, a picture or a page can show."""

import unicodedata

#: Categories of characters that act on a terminal, end a line or have no encoding.
ESCAPED = {"Cc", "Cs", "Zl", "Zp"}
#: Characters that turn the direction of the text after them.
BIDIRECTIONAL = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def escape_text(value: object) -> str:
    """Return the text of a value with control characters escaped as Python does."""
    text = str(value)
    return text if text.isprintable() else "".join(map(_escape_character, text))


def get_first_line(error: Exception) -> str:
    """Return what an error says first, as `escape_text` returns it."""
    return escape_text(str(error).strip().partition("\n")[0])


def _escape_character(character: str) -> str:
    escaped = (
        unicodedata.category(character) in ESCAPED or ord(character) in BIDIRECTIONAL
    )
    return repr(character)[1:-1] if escaped else character
