"""study.json: written, read, refused by field; a continued study keeps its identity."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from study.record.goals import Goals, Objective
from study.record.metadata import (
    ImageSetInfo,
    OccupiedError,
    RunDirectoryError,
    SearchInfo,
    StudyMetadata,
    read_metadata,
    write_metadata,
)
from study.record.stored import precision_of

OBJECTIVES = (Objective("psnr_y", "maximize", "dB", "PSNR-Y"), Objective("swd", "minimize"))
STUDY = StudyMetadata(
    name="quick",
    search=SearchInfo("aesop", 12, 0, ("loss.guidance",)),
    goals=Goals(OBJECTIVES, {"psnr_y": 20.0, "swd": 60.0}),
    images={"train": ImageSetInfo("photographs", "aa", ("a",)), "val": ImageSetInfo("held out", "bb", ("b", "c"))},
    config={"recipe": "aesop", "size": "tiny", "precision": "bf16", "data": {"task": "sr", "scale": 4}},
    notes=("a note",),
    code_version="0.1+a",
    identity={"space": "aesop", "objectives": ["psnr_y", "swd"]},
    id="0" * 32,
)


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert write_metadata(tmp_path, STUDY) == STUDY
    assert read_metadata(tmp_path) == STUDY
    assert (STUDY.recipe, STUDY.size, STUDY.task, STUDY.val_images) == (
        "aesop",
        "tiny",
        "super-resolution x4",
        ("b", "c"),
    )
    assert precision_of(tmp_path) == "bf16"
    assert precision_of(tmp_path / "nowhere") is None


def test_a_continued_study_keeps_its_id_and_code_versions(tmp_path: Path) -> None:
    written = [
        write_metadata(tmp_path, replace(STUDY, code_version=version, id=str(number) * 32))
        for number, version in enumerate(("0.1+a", "0.1+a", "0.2+b", "0.1+a"))
    ]
    assert [each.code_version for each in written] == ["0.1+a", "0.1+a", "0.1+a, then 0.2+b", "0.1+a, then 0.2+b"]
    assert {each.id for each in written} == {"0" * 32}


def test_another_study_is_refused_with_the_differences(tmp_path: Path) -> None:
    write_metadata(tmp_path, STUDY)
    with pytest.raises(OccupiedError, match=r"differs in space \(there aesop, here wide\)\. Go back"):
        write_metadata(tmp_path, replace(STUDY, identity={**STUDY.identity, "space": "wide"}))


def test_a_study_keeps_its_budget_and_its_refusal_names_the_other_ways(tmp_path: Path) -> None:
    of = lambda iterations: replace(STUDY, identity={**STUDY.identity, "config": {"budget.iterations": iterations}})  # noqa: E731
    write_metadata(tmp_path, of(24))
    for other in (12, 48):
        with pytest.raises(OccupiedError) as caught:
            write_metadata(tmp_path, of(other))
        said = str(caught.value)
        assert f"differs in budget.iterations (there 24, here {other})" in said
        assert (
            f"another --output, with --warm-start {tmp_path} to try the settings on its front first, or --repeat"
            in said
        )
        assert "compared at one budget, so a study cannot change it" in said


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 1}, "its version is 1, but this code reads 2"),
        ({"mood": "good"}, "mood"),
        ({"notes": None}, "notes"),
        ({"search": {"space": "a", "trials": 1, "seed": 0, "groups": ["data.test"]}}, "it is called data.val now"),
        ({"config": {"loss": {"artifact": 1}}}, "unknown field 'loss.artifact'; it is called loss.ldl now"),
        ({"config": {"loss": {"guidance": "own"}}}, "loss.guidance: unknown value 'own'; it is called custom now"),
        ({"goals": {"objectives": [], "reference": {}}}, "two or three different objectives"),
        ({"version": "2"}, "its version is '2', but this code reads 2"),
        ({"images": {"train": {"name": "a", "fingerprint": "b", "images": []}}}, "images: .* at least 2 items"),
        ({"search": 3}, "search: Input should be an object, but got 3; .* restore the file from a copy"),
        ({"search": {"space": "a", "trials": "1", "seed": 0}}, r"search\.trials: Input should be a valid integer"),
        ({"mood": 1}, "mood: this version does not know it, but got 1; .* restore the file from a copy"),
        ({"goals": {"objectives": [{"metric": "a", "direction": "up"}], "reference": {}}}, "direction"),
    ],
)
def test_a_file_that_is_no_metadata_is_refused_by_field(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    write_metadata(tmp_path, STUDY)
    path = tmp_path / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunDirectoryError, match=problem) as refused:
        read_metadata(tmp_path)
    assert str(path) in str(refused.value)


def test_a_missing_or_torn_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"does not exist: give a directory that study/sweep\.py wrote"):
        read_metadata(tmp_path)
    (tmp_path / "study.json").write_text('{"name": ')
    with pytest.raises(RunDirectoryError, match="is not valid JSON"):
        read_metadata(tmp_path)
