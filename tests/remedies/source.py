"""The messages in the source that name a remedy, found in the syntax tree."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from study.config import RunConfig, known_paths

ROOT = Path(__file__).resolve().parents[2]
_SECTIONS = "|".join(sorted({path.partition(".")[0] for path in known_paths()} & set(RunConfig.model_fields)))
_REMEDY = re.compile(
    rf"""(?<![\w-])--[a-z]|\{{option\}}                                # an option, or one whose name is filled in
    | (?:study|analysis)/\w+\.py | \bpip\ install | `(?:ray|mlflow)\ | \bray\ job | \bmlflow\ \w  # a command
    | \b(?:RAY|AWS|AESOP|MLFLOW)_[A-Z_]+ | _VARIABLE\}}                # an environment variable
    | (?<![\w./-])(?:{_SECTIONS})\.[a-z{{]                             # a field
    | in\ the\ search\ space
    """,
    re.VERBOSE,
)
_IN_CONFIG = re.compile(r"; (?:set|use|choose|give|leave|lower|raise|enlarge|add|for|the nearest|write)\b")
_HELP = {"help", "description", "epilog", "doc", "metavar"}


@dataclass(frozen=True)
class Message:
    """A text of the source; `{...}` stands where a value is filled in."""

    place: str
    text: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the message looks like when it is shown."""
        return re.compile(".*?".join(map(re.escape, re.split(r"\{.*?\}", self.text, flags=re.DOTALL))), re.DOTALL)


@cache
def messages() -> tuple[Message, ...]:
    """Return the messages of the product that name a remedy."""
    files = [path for part in ("study", "analysis", "search_spaces") for path in sorted((ROOT / part).rglob("*.py"))]
    return tuple(message for path in files for message in _messages_of(path))


def _messages_of(path: Path) -> Iterator[Message]:
    tree = ast.parse(path.read_text())
    skipped = {id(part) for node in ast.walk(tree) for part in _no_message(node)}
    in_config = "config" in path.parts
    for node in ast.walk(tree):  # outer nodes come before inner ones
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for value in node.values for part in ast.walk(value)}
        text = _text(node)
        if " " in text and (_REMEDY.search(text) or (in_config and _IN_CONFIG.search(text))):
            yield Message(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", text)


def _no_message(node: ast.AST) -> list[ast.AST]:
    """Return the nodes of docstrings and of help texts below a node."""
    if isinstance(node, ast.Expr):
        return [node.value] if isinstance(node.value, ast.Constant) else []
    return list(ast.walk(node.value)) if isinstance(node, ast.keyword) and node.arg in _HELP else []


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    return "".join(_text(value) if isinstance(value, ast.Constant) else _filled(value) for value in node.values)


def _filled(value: ast.AST) -> str:
    """Return what is filled in: its name if that is a name, else the texts in it."""
    assert isinstance(value, ast.FormattedValue)
    if isinstance(value.value, ast.Name):
        return f"{{{value.value.id}}}"
    return "{" + " ".join(_text(part) for part in ast.walk(value.value) if isinstance(part, ast.Constant)) + "}"
