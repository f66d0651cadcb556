"""The parts of a space file, and what is wrong with a file that has others."""

import ast
import difflib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from study.record.validation import shortened
from study.record.values import MOST_TRIALS, Groups, MetricName, Number

REQUIRED = ("SIZE", "TRIALS", "REFERENCE", "GROUPS", "base", "sample")
_OPTIONAL = ("STRATIFY", "stratify", "NETWORKS")
_RULES: Mapping[str, TypeAdapter[Any]] = {
    "TRIALS": TypeAdapter(Annotated[int, Field(ge=1, le=MOST_TRIALS, strict=True)]),
    "REFERENCE": TypeAdapter(Mapping[MetricName, Annotated[Number, Field(strict=True)]]),
    "GROUPS": TypeAdapter(Groups),
    "STRATIFY": TypeAdapter(Mapping[str, tuple[Any, ...]]),
}
"""What a study's files may hold: `study/record` refuses to read any other."""


class SpaceError(ValueError):
    """A search space that cannot be used; the message names the file and the fault."""


def check_values(path: Path, module: ModuleType) -> None:
    """Refuse a part that the files of a study could not hold."""
    for name, rule in _RULES.items():
        try:
            if hasattr(module, name):
                rule.validate_python(getattr(module, name))
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(map(str, (name, *problem["loc"])))
            raise SpaceError(
                f"{path}: {field}: {problem['msg']}, but got {shortened(problem['input'])}; change it in that file"
            ) from error


def check_unread(path: Path, text: str) -> None:
    """Refuse a definition that nothing reads: a constant that is no part, or a function with almost a part's name."""
    tree = ast.parse(text)
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    defined += [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in ast.walk(node)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    ]
    known = (*REQUIRED, *_OPTIONAL)
    for name in defined:
        similar = difflib.get_close_matches(name, known, n=1)
        if name not in known and name not in read and (name.isupper() or similar):
            nearest = f"did you mean {similar[0]}? " if similar else ""
            raise SpaceError(
                f"{path} defines {name}, which nothing reads; {nearest}The parts of a space are {', '.join(known)}: "
                "rename or remove it"
            )
