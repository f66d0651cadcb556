"""Names and values in the form that MLflow stores: it cuts long values in silence, and refuses some names."""

import re
from collections.abc import Mapping
from posixpath import normpath
from typing import Any

from study.config import digest

PARAM_LENGTH, TAG_LENGTH = 6000, 4000
"""Longest values that servers of any version in use take."""

FOLDER = "values"
"""The artifacts of a run that hold what does not fit."""

_NAME_LENGTH = 250


def fit(values: Mapping[str, Any], limit: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return values as MLflow stores them.

    Args:
        values: by name; None is left out.
        limit: of a value, in characters.

    Returns:
        Texts by valid name; and by path of an artifact, the name and the text that had to be changed.
    """
    fitting, whole = {}, {}
    for name, value in values.items():
        if value is None:
            continue
        text, valid = str(value), valid_name(name)
        path = f"{FOLDER}/{re.sub('[/: ]', '_', valid)}.txt"
        fitting[valid] = cut(text, limit, path)
        if valid != name or len(text) > limit:
            whole[path] = f"{name}\n{text}\n"
    return fitting, whole


def cut(text: str, limit: int, path: str) -> str:
    """Return a text of at most `limit` characters; one that is cut ends in the artifact that has all of it."""
    if len(text) <= limit:
        return text
    end = f"... ({len(text):,} characters; artifact {path} has all)"
    return text[: limit - len(end)] + end


def valid_name(name: str) -> str:
    """Return a name that MLflow accepts: the same, or one with other characters and a hash of the name."""
    plain = re.fullmatch(r"[/\w.\- :]+", name) and normpath(name) == name and not name.startswith(("/", ".."))
    if plain and len(name) <= _NAME_LENGTH:
        return name
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name).lstrip('.')[:200]}-{digest(name)[:8]}"
