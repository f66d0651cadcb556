"""How problems of data are told: one error a file, one report for all of them."""

from collections.abc import Sequence
from pathlib import Path

_MAX_REPORTED = 50


class FileError(ValueError):
    """A file that cannot be used: which one, what is wrong with it and what to do."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)  # both in args, so that the error can be pickled between processes
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


def refuse(error: type[ValueError], heading: str, problems: Sequence[str]) -> None:
    """Raise an error with one line a problem, if there is any; of very many, the first 50."""
    if not problems:
        return
    lines = [f"  {problem}" for problem in problems[:_MAX_REPORTED]]
    if len(problems) > _MAX_REPORTED:
        lines.append(f"  ... and {len(problems) - _MAX_REPORTED} more")
    raise error("\n".join([f"{heading}:", *lines]))
