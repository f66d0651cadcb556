"""Words that the field does not use, or that had two meanings, are gone from code, options and documents.

docs/glossary.md has the terms. A row below is a former name and where it may not stand.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = (".py", ".js", ".j2", ".ipynb", ".sh")
PROSE = (*CODE, ".md", ".yaml", ".toml")
HERE = (  # these name former names, to refuse or explain them
    "tests/test_vocabulary.py",
    "docs/glossary.md",
    "study/config/overrides.py",
    "study/sweep_options.py",
    "tests/config/test_overrides.py",
    "tests/record/test_metadata.py",
)

ANYWHERE = {
    "Workshop": r"\b[Ww]orkshops?\b",
    "Densifier": r"[Dd]ensif(?:y|ier|ication)",
    "blend": r"\b[Bb]lend(?:s|ed|ing)?\b|_blend|blend_",
    "--grace, --eta": r"--grace\b(?!-)|--eta\b",
    "IN_TURN": r"\bIN_TURN\b",
    "OnTick": r"\bOnTick\b|\bTick\b|\bLOOK_EVERY\b",
    "cadence": r"\b[Cc]adence\b",
    "Contest": r"\bContest\b|\bcontenders?\b|\bverdicts?\b|\bgain_insight\b|\bbudget currency\b",
    "the house": r"\b[Tt]he house\b|\b[Ii]n earnest\b|\bas it stands\b",
    "METHODS": r"\bMETHODS\b|\bDESIGN\b|\bVOCABULARY\b|\bSTYLE\.md\b",
    "the steps of a plan": r"\b[Ss]tep (?:[4-9]|1[0-8])\b",
    "nobody": r"\b[Nn]obody\b|\b[Ww]hoever\b",
}
IN_CODE = {
    "Halving": r"\bHalving\b",
    "judge": r"\bjudg(?:e|es|ed|ing)\b|\bJudge\b|_judge|judge_",
    "Team": r"\b[Tt]eam\b|\bTeamLost\b|\.leads\b|\bleads:",
    "Guide": r"\bGuide\b|\bguide\b",
    "spool": r"\b[Ss]pool\b",
    "own loss": r"\bown_loss|\bloss\.own\b|\bOwnLoss|\"guidance\": \"own\"|\bhead own\b",
    "low-quality image": r"\blow: Tensor\b|\bsr, hr, low\b|references/low\b",
    "perform": r"\bperform\b|\.hear\(|\b_heed\b",
    "_descend": r"\b_descend\b|\b_compete\b|\brepeats_itself\b",
    "facts": r"\b[Ff]acts\b",
    "sys.path": r"sys\.path\[",
}
MAY_PATCH_PATH = ("study/sweep.py", "study/train.py", "study/evaluate.py", "study/prepare.py", "study/export.py")
MAY_PATCH_PATH += ("analysis/report.py", "tests/analysis/test_report.py")
OPTIONS = ("--test", "--blends", "--blend", "--densify", "--grace", "--eta", "--only", "--out", "--lr")


def texts(suffixes: tuple[str, ...], *folders: str) -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.splitlines() if name.endswith(suffixes) and name not in HERE]
    chosen = [name for name in names if not folders or name.startswith(folders)]
    return {name: (ROOT / name).read_text() for name in chosen if (ROOT / name).is_file()}


def found(pattern: str, where: dict[str, str]) -> list[str]:
    lines = ((name, number, line) for name, text in where.items() for number, line in enumerate(text.splitlines(), 1))
    return [f"{name}:{number}: {line.strip()[:100]}" for name, number, line in lines if re.search(pattern, line)]


@pytest.mark.parametrize("word", ANYWHERE)
def test_former_words_are_gone_from_code_and_prose(word: str) -> None:
    assert found(ANYWHERE[word], texts(PROSE)) == []


@pytest.mark.parametrize("word", IN_CODE)
def test_former_names_are_gone_from_code(word: str) -> None:
    allowed = MAY_PATCH_PATH if word == "sys.path" else ()
    where = {name: text for name, text in texts(CODE).items() if name not in allowed}
    assert found(IN_CODE[word], where) == []


@pytest.mark.parametrize("option", OPTIONS)
def test_former_options_stand_nowhere_but_where_they_are_refused(option: str) -> None:
    where = texts((".md", ".sh", ".yaml", "Makefile"))
    assert found(rf"(?<![\w-]){option}(?![\w-])", where) == []


@pytest.mark.parametrize("pattern", [ANYWHERE["blend"], IN_CODE["judge"], ANYWHERE["METHODS"]])
def test_the_search_does_find_what_is_there(pattern: str) -> None:
    planted = {"a.py": "# METHODS 1.2: judge the blend\n"}
    assert found(pattern, planted) == ["a.py:1: # METHODS 1.2: judge the blend"]
