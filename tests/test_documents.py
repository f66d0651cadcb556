"""The README and the pages of docs: links lead somewhere, and commands are such as the entry points take."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "analysis/reference/README.md"]
}
OURS = re.compile(
    r"(?:study/(?:sweep|train|evaluate|prepare|export)|analysis/report)\.py|benchmarks\.tabular\.simulate"
)


def commands_of(text: str) -> list[list[str]]:
    """Our commands in indented or fenced blocks, from the script on; those that leave something out by ... are not."""
    fenced = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE))
    indented = "\n".join(re.findall(r"^    (.*)$", text, flags=re.MULTILINE))
    lines = f"{fenced}\n{indented}".replace("\\\n", " ").splitlines()
    found = []
    for line in (line for line in lines if OURS.search(line) and "..." not in line):
        words = shlex.split(line, comments=True)
        start = next((place for place, word in enumerate(words) if OURS.fullmatch(word)), None)
        if start is not None:
            found.append(words[start:])
    return found


COMMANDS = [(page, command) for page, text in PAGES.items() for command in commands_of(text)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", PAGES[page]):
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_there_are_commands_of_every_entry_point() -> None:
    assert {command[0] for _, command in COMMANDS} >= {
        "study/sweep.py",
        "study/train.py",
        "study/evaluate.py",
        "study/prepare.py",
        "study/export.py",
        "benchmarks.tabular.simulate",
        "analysis/report.py",
    }


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{command[0]}" for page, command in COMMANDS])
def test_commands_are_understood(page: str, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(command[0].removesuffix(".py").replace("/", "."))
    try:
        options = module._parse(command[1:])
    except SystemExit as refusal:
        pytest.fail(f"{page}: {shlex.join(command)}: {refusal.code}: {capsys.readouterr().err}")
    assert isinstance(options, argparse.Namespace)
