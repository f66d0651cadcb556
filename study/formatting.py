"""Text for people: plain helpers that any package may import."""

import re
from typing import Any

# Controls but tab and line feed, invisible and direction-changing characters, and bytes that are not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_LATEX = str.maketrans(
    {each: rf"\{each}" for each in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "[": "{[}", "*": "{*}"}
)
# Only what would be markup, so that a table stays readable as plain text; `_` inside a word is none.
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|^[#+-]|:(?=//)|(?<=www)\.")


def printable(text: str) -> str:
    """Return a text with each character that a terminal would obey, or not show, as an escape: `\\x1b`."""
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)


def one_line(text: str) -> str:
    """Return a text as `printable` does, with line breaks as `\\n`: a name in a sentence begins no other line."""
    return printable(text).replace("\n", "\\n")


def latex_text(text: str) -> str:
    """Escape a text for LaTeX: no command, one line; `[` and `*` would be read as arguments of the row's end before."""
    return printable(" ".join(text.split())).translate(_LATEX)


def spreadsheet_text(value: Any) -> Any:
    """Return a CSV cell that no spreadsheet runs as a formula: such text gets an apostrophe, as OWASP advises.

    Excel takes full-width signs for the plain ones where its language has them.
    """
    if not isinstance(value, str) or not value.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def markdown_text(words: str) -> str:
    """Escape words for Markdown: no markup, no HTML, one line."""
    plain = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\g<0>", plain)


def duration(seconds: float, digits: int | None = None) -> str:
    """Return a time span in the two units that matter: "2 h 05 min", "3 min 20 s", "12 s".

    Args:
        seconds: finite.
        digits: significant digits of a span below a minute; None for whole seconds.
    """
    if digits is not None and seconds < 60:
        return f"{seconds:.{digits}g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
