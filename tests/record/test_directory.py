"""Files of a study, which no output of another command replaces."""

import importlib
from pathlib import Path

import pytest
from rich.console import Console

from study.record.directory import check_not_recorded
from study.record.metadata import OccupiedError


@pytest.fixture
def study(tmp_path: Path) -> Path:
    root = tmp_path / "runs" / "photos"
    root.mkdir(parents=True)
    (root / "journal.jsonl").touch()
    return root


@pytest.mark.parametrize(
    "name",
    ["study.json", "journal.jsonl", "optuna.db", "space.py", "generator.pth", "mlflow.json",
     "trials/0007/points/0000160.safetensors", "trials/0007/points/mine.safetensors", "custom_losses/mine.py",
     "sub/../study.json", "models"],
)  # fmt: skip
def test_a_file_of_a_study_is_refused(study: Path, name: str) -> None:
    with pytest.raises(OccupiedError, match=r"--output .* would be one of the files of the study in .*photos; name an"):
        check_not_recorded(study / name, "--output")


def test_a_link_to_a_study_is_the_study(study: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(study)
    with pytest.raises(OccupiedError):
        check_not_recorded(tmp_path / "link" / "study.json", "--per-image")


@pytest.mark.parametrize("name", ["photos/table.md", "photos/partial", "study.json", "../journal.jsonl"])
def test_other_files_are_free(study: Path, name: str) -> None:
    """A report's files, and files of a study's names elsewhere; the same names in the study are refused."""
    path = study.parent / name
    check_not_recorded(path, "--output")
    assert not path.exists()  # nothing was made
    with pytest.raises(OccupiedError):
        check_not_recorded(study / "trials" / path.name, "--output")


def test_files_of_an_artifact_are_refused(tmp_path: Path) -> None:
    artifact = tmp_path / "fidelity-0123"
    artifact.mkdir()
    check_not_recorded(artifact / "weights.safetensors", "--output")
    (artifact / "budget.json").touch()
    with pytest.raises(OccupiedError, match="a file of the artifact fidelity-0123; name another"):
        check_not_recorded(artifact / "weights.safetensors", "--output")


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("evaluate", ["bicubic", "--hr", "HR", "--output", "STUDY/study.json"]),
        ("evaluate", ["bicubic", "--hr", "HR", "--per-image", "STUDY/journal.jsonl"]),
        ("evaluate", ["bicubic", "--hr", "HR", "--save-images", "STUDY/trials"]),
        ("export", ["POINT", "--output", "STUDY/trials/0000/points/0000001.safetensors"]),
        ("prepare", ["pack", "HR", "--output", "STUDY/space.py"]),
        ("report", ["runs/x", "--output", "STUDY/trials"]),
        ("loss_landscape", ["IMAGE", "--output", "STUDY/references/x.png"]),
        ("texture_penalty", ["AE", "--hr", "HR", "--output", "STUDY/references/x.png"]),
    ],
)
def test_every_command_refuses_them(command: str, given: list[str], study: Path) -> None:
    (study / "references").mkdir()
    places = {"report": "analysis.", "loss_landscape": "analysis.reference.", "texture_penalty": "analysis.reference."}
    module = importlib.import_module(places.get(command, "study.") + command)
    arguments = [word.replace("STUDY", str(study)) for word in given]
    with pytest.raises(OccupiedError, match="name another"):
        module.main(arguments) if command == "report" else module.main(arguments, Console())
    assert (study / "journal.jsonl").read_bytes() == b""
