"""Errors of files that cannot be used, and lists of them that stay readable."""

from collections.abc import Sequence
from pathlib import Path

_MAX_REPORTED = 50


class FileError(ValueError):
    """A file that cannot be used: its path, the problem and the remedy."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)  # both in args, so that the error can be pickled between processes
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class ImageError(FileError):
    """An image file that cannot be used."""


def raise_problems(error: type[ValueError], heading: str, problems: Sequence[str]) -> None:
    """Raise an error with one line per problem, at most 50 of them; return if there are no problems."""
    if not problems:
        return
    lines = [f"  {problem}" for problem in problems[:_MAX_REPORTED]]
    if len(problems) > _MAX_REPORTED:
        lines.append(f"  ... and {len(problems) - _MAX_REPORTED} more")
    raise error("\n".join([f"{heading}:", *lines]))


def some(names: Sequence[str], limit: int = 8) -> str:
    """Return the first names of many, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
