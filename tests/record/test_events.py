"""The schema of each event, against a golden journal."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.record import events as schema
from study.record.entries import EventError, read_entry, write_entry
from study.record.events import (
    EVENT_TYPES,
    VERSION,
    AliasesPublished,
    ArtifactEnded,
    FilesPublished,
    FrontMoved,
    InterpolationEvaluated,
    JobWarned,
    JournalRepaired,
    ModelPublished,
    PairEnded,
    PointEvaluated,
    ReferenceEvaluated,
    RungDecided,
    SearchEnded,
    StudyDescribed,
    StudyStateChanged,
    TrialEnded,
    TrialExtended,
    TrialRetried,
    TrialStarted,
    WorkerDied,
)
from study.record.points import Distribution, FidelityPoint, InterpolatedPoint, Limits, Spent, TrialPoint, pair_name
from tests.record.lines import payload_of, signed

GOLDEN = Path(__file__).with_name("golden.jsonl")
LINES = GOLDEN.read_text().splitlines()
GENERATOR = FidelityPoint("fidelity-974dcb65fdf6261d")
POINT, OTHER = TrialPoint(3, 80), TrialPoint(11, 160)
MIXED = InterpolatedPoint(GENERATOR, POINT, "weights", 0.25)
METRICS, IMAGES = {"psnr_y": 29.5, "swd": 26.5}, {"coffee": {"psnr_y": 29.5, "swd": 26.5}}
SPENT = Spent(80, 1310720, 6.5, 1.25)

EXPECTED: list[Any] = [
    StudyStateChanged(state="RUNNING"),
    StudyDescribed(metadata={"name": "quick", "search": {"space": "aesop", "trials": 12}, "version": 2}),
    JournalRepaired(faults=("entry 2 is missing",), kept="journal.jsonl.damaged-1"),
    TrialStarted(
        trial=3,
        config={"recipe": "aesop", "loss": {"fidelity": 0.5}},
        params={"loss.fidelity": 0.5, "loss.guidance": "aesop", "budget.patch": 64},
        distributions={
            "loss.fidelity": Distribution("float", low=0.1, high=2.0, log=True),
            "loss.guidance": Distribution("categorical", choices=("pixel", "aesop")),
            "budget.patch": Distribution("int", low=32, high=96, step=32),
        },
        upstream={"fidelity": GENERATOR.key},
    ),
    ReferenceEvaluated(name="bicubic", kind="bicubic", metrics=METRICS, images=IMAGES, samples="references/bicubic"),
    ArtifactEnded(
        key=GENERATOR.key,
        stage="fidelity",
        config={"recipe": "aesop"},
        state="COMPLETE",
        metrics=METRICS,
        spent=Spent(800, 14745600, 21.25),
        reused=False,
    ),
    PointEvaluated(
        point=POINT,
        metrics=METRICS,
        images=IMAGES,
        terms={"fidelity": 0.0195, "adversarial": float("inf")},
        spent=SPENT,
        samples="trials/0003/points/0000080",
    ),
    RungDecided(trial=3, rung=80, iteration=80, go_on=False, position=2, among=2, reason="rank 2 of 2 at iteration 80"),
    TrialEnded(
        trial=3,
        state="PRUNED",
        cause="rank 2 of 2 at iteration 80",
        overhead_seconds=0.03,
        seconds=16.5,
        warm=True,
        waited=True,
    ),
    InterpolationEvaluated(
        point=MIXED,
        metrics=METRICS,
        images=IMAGES,
        spent=Spent(device_seconds=1.5),
        samples=f"interpolations/{GENERATOR.key}--0003-0000080/weights-2500",
    ),
    PairEnded(first=GENERATOR, second=POINT, state="COMPLETE"),
    FrontMoved(trials_ended=1, hypervolume=328.5, members=(GENERATOR, MIXED, OTHER), final=True),
    SearchEnded(limits=Limits(12, 0.5, 16, 0.005), cause="0.5 of --device-hours 0.5 are spent"),
    WorkerDied(job="trial-0003", trial=3, iteration=40, cause="its node died"),
    TrialRetried(trial=3),
    TrialExtended(trial=3, config={"recipe": "aesop", "budget": {"iterations": 240}}),
    JobWarned(job="trial-0003", trial=3, text="checkpoint.pt is damaged; the one before it is used"),
    FilesPublished(trial=None, folder="report", paths=("report.html",), content="1d48ec6b4e4ef926"),
    ModelPublished(
        point=OTHER,
        trial=11,
        folder="models/trial-0011-0000160",
        paths=("models/trial-0011-0000160/weights.safetensors",),
        tags={"psnr_y": "29.5", "trial": 11, "iteration": None},
    ),
    AliasesPublished(aliases={"balanced": OTHER, "most-faithful": MIXED}, members=(GENERATOR, OTHER)),
]


def test_the_golden_journal_has_every_event_once() -> None:
    assert [json.loads(line)["event"]["type"] for line in LINES] == [event.type for event in EXPECTED]
    assert sorted(event.type for event in EXPECTED) == sorted(EVENT_TYPES)


@pytest.mark.parametrize(
    ("line", "event"), list(zip(LINES, EXPECTED, strict=True)), ids=[each.type for each in EXPECTED]
)
def test_each_line_is_read_and_written_as_its_event(line: str, event: Any) -> None:
    entry = read_entry(line.encode())
    assert entry.event == event
    assert type(entry.event) is type(event)
    assert write_entry(entry) == line


PLACES = [
    *((line, ()) for line in LINES),
    *((line, ("point",)) for line in LINES if isinstance(json.loads(line)["event"].get("point"), dict)),
    *((line, ("members", 0)) for line in LINES if json.loads(line)["event"].get("members")),
    *((line, ("spent",)) for line in LINES if "spent" in json.loads(line)["event"]),
]


@pytest.mark.parametrize(("line", "place"), PLACES)
def test_a_field_too_many_is_refused_wherever_it_is(line: str, place: tuple[Any, ...]) -> None:
    values = payload_of(line)
    node = values["event"]
    for name in place:
        node = node[name]
    node["mood"] = "good"
    with pytest.raises(EventError, match=r"unknown field '.*mood'; read it with the code that wrote it"):
        read_entry(signed(values).encode())


@pytest.mark.parametrize("line", LINES, ids=[each.type for each in EXPECTED])
@pytest.mark.parametrize("version", [0, VERSION + 1, "2", None])
def test_another_version_is_refused(line: str, version: object) -> None:
    with pytest.raises(EventError, match=f"its version is .*, but this code reads {VERSION}; read it with"):
        read_entry(signed(payload_of(line) | {"version": version}).encode())


def test_identities_name_their_files_and_their_owner() -> None:
    assert (POINT.label, POINT.slug) == ("trial 3 at 80", "0003-0000080")
    assert (GENERATOR.label, GENERATOR.slug) == ("fidelity f6261d", GENERATOR.key)
    assert (MIXED.pair, MIXED.name) == (f"{GENERATOR.key}--0003-0000080", "weights-2500")
    assert MIXED.pair == pair_name(GENERATOR, POINT)
    assert (MIXED.trial, MIXED.owner, MIXED.other, MIXED.share_of_owner) == (3, POINT, GENERATOR, 0.25)
    turned = InterpolatedPoint(POINT, GENERATOR, "images", 0.25)
    assert (turned.trial, turned.owner, turned.other, turned.share_of_owner) == (3, POINT, GENERATOR, 0.75)
    between = InterpolatedPoint(GENERATOR, FidelityPoint("fidelity-2"), "images", 0.5)
    assert between.trial is None


def test_the_module_needs_nothing_but_pydantic() -> None:
    """Other readers of journals can then copy the module, `points.py` and `values.py` unchanged."""
    folder = Path(schema.__file__).parent
    source = "".join((folder / name).read_text() for name in ("events.py", "points.py", "values.py"))
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("from ", "import "))}
    assert imported == {"collections", "math", "typing", "pydantic", "study"}
    modules = {line.split()[1] for line in source.splitlines() if "from study" in line}
    assert modules == {"study.record.points", "study.record.values"}
