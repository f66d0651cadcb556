"""Read a run directory: what the study is (study.json) and what happened in it (journal.jsonl)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.search.constraints import Constraint
from study.search.front import Direction

Event = Mapping[str, Any]

# What an event must hold to be of use; anything more is optional.
_REQUIRED: Mapping[str, Mapping[str, type]] = {
    "artifact": {"key": str, "stage": str, "state": str},
    "reference": {"name": str, "kind": str, "metrics": dict},
    "trial": {"trial": int},
    "point": {"trial": int, "iteration": int, "metrics": dict},
    "end": {"trial": int, "state": str},
    "study": {"state": str},
    "interpolation": {"pair": str, "name": str, "space": str, "share": float, "parents": list, "metrics": dict},
}


class RunDirectoryError(ValueError):
    """A run directory that cannot be read: which file, which field, and what it should hold."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One axis of the front."""

    metric: str
    direction: Direction
    unit: str
    label: str


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """What study.json says of a study; it is written once, before the first trial."""

    name: str
    space: str
    recipe: str
    size: str
    trials: int
    """How many trials were asked for."""
    seed: int
    objectives: tuple[Objective, ...]
    """At least two; figures and crops use the first (fidelity) and the second (perception)."""
    reference: Mapping[str, float]
    """The worst value of interest for each objective's metric: the corner of the hypervolume."""
    notes: tuple[str, ...]
    data: Mapping[str, Any]
    scale: int
    code_version: str
    config: Mapping[str, Any]
    groups: tuple[str, ...]
    """Config paths by which fronts are split; the first is the study's main question."""
    constraints: tuple[Constraint, ...] = ()
    """A point that misses one of these does not count for the front."""

    @property
    def task(self) -> str:
        """What was to be done to the images, in words."""
        data = self.config.get("data", {})
        if data.get("task") == "denoise":
            return f"denoising, noise {data['sigma']:g} of 255"
        if data.get("task") == "jpeg":
            return f"JPEG artefact removal, quality {data['quality']}"
        return f"super-resolution x{self.scale}"

    @property
    def corner(self) -> tuple[float, ...]:
        """The reference point in the order of the objectives."""
        return tuple(float(self.reference[objective.metric]) for objective in self.objectives)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What "better" means, in the order of the objectives."""
        return tuple(objective.direction for objective in self.objectives)

    @property
    def test_images(self) -> tuple[str, ...]:
        """The held-out images' names."""
        return tuple(self.data.get("val", {}).get("images", ()))


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The events of a study, the last of each kept where a resumed study repeats itself."""

    artifacts: tuple[Event, ...] = ()
    """In order of time, none dropped: that an artifact was trained twice must stay visible."""
    references: Mapping[str, Event] = field(default_factory=dict)
    trials: Mapping[int, Event] = field(default_factory=dict)
    points: Mapping[tuple[int, int], Event] = field(default_factory=dict)
    """By (trial, iteration)."""
    ends: Mapping[int, Event] = field(default_factory=dict)
    interpolations: Mapping[tuple[str, str], Event] = field(default_factory=dict)
    """By (pair, interpolation)."""
    state: str = "RUNNING"
    """RUNNING, COMPLETE or INTERRUPTED: what the study last said of itself; RUNNING where it has yet to begin."""
    unreadable: int = 0
    """Lines that hold no usable event; a torn last line is not counted."""


def read_facts(run_dir: Path) -> StudyFacts:
    """Read and check study.json.

    Raises:
        RunDirectoryError: there is no such file, it is not JSON, or a field is missing or cannot be used.
    """
    path = run_dir / "study.json"
    content = _read_object(path)
    objectives = _objectives(path, content)
    reference = _required(path, content, "reference", dict)
    for objective in objectives:
        if not isinstance(reference.get(objective.metric), int | float):
            raise RunDirectoryError(
                f"{path}: reference must hold a number for {objective.metric!r}, but got {reference}"
            )
    return StudyFacts(
        name=_required(path, content, "name", str),
        space=_required(path, content, "space", str),
        recipe=_required(path, content, "recipe", str),
        size=_required(path, content, "size", str),
        trials=_required(path, content, "trials", int),
        seed=_required(path, content, "seed", int),
        objectives=objectives,
        reference=reference,
        notes=tuple(map(str, _required(path, content, "notes", list))),
        data=_required(path, content, "data", dict),
        scale=_required(path, content, "scale", int),
        code_version=_required(path, content, "code_version", str),
        config=_required(path, content, "config", dict),
        groups=tuple(map(str, _required(path, content, "groups", list))),
        constraints=tuple(_constraint(path, entry) for entry in content.get("constraints", [])),
    )


def read_journal(run_dir: Path) -> Journal:
    """Read journal.jsonl, as far as it goes; a study that has only just begun may not have one.

    The driver appends whole lines, so a crash can leave a torn last line: it is ignored. Other lines that
    hold no usable event are counted and left out, for one bad line must not hide a night's results.
    """
    path = run_dir / "journal.jsonl"
    if not path.is_file():
        return Journal()
    *lines, last = path.read_text(encoding="utf-8", errors="replace").split("\n")
    events = [_parse_event(line) for line in lines if line.strip()]
    usable = [event for event in [*events, _parse_event(last)] if event is not None]
    return _sort_events(usable, unreadable=events.count(None))


def _sort_events(events: Iterable[Event], *, unreadable: int) -> Journal:
    artifacts: list[Event] = []
    references: dict[str, Event] = {}
    trials: dict[int, Event] = {}
    points: dict[tuple[int, int], Event] = {}
    ends: dict[int, Event] = {}
    interpolations: dict[tuple[str, str], Event] = {}
    state = "RUNNING"
    for event in events:
        match event["event"]:
            case "artifact":
                artifacts.append(event)
            case "reference":
                references[event["name"]] = event
            case "trial":
                trials[event["trial"]] = event
            case "point":
                points[event["trial"], event["iteration"]] = event
            case "end":
                ends[event["trial"]] = event
            case "interpolation":
                interpolations[event["pair"], event["name"]] = event
            case "study":
                state = event["state"]
    return Journal(
        artifacts=tuple(artifacts),
        references=references,
        trials=trials,
        points=points,
        ends=ends,
        interpolations=interpolations,
        state=state,
        unreadable=unreadable,
    )


def _parse_event(line: str) -> Event | None:
    """Turn a line into an event, or None where it is torn or lacks what its kind of event needs."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    required = _REQUIRED.get(event["event"], {})
    return event if all(isinstance(event.get(name), kind) for name, kind in required.items()) else None


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunDirectoryError(f"{path} does not exist: give a directory that study/sweep.py wrote with --output")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunDirectoryError(f"{path} is not valid JSON ({error}): was it edited or cut short?") from error
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} must hold a JSON object, but holds a {type(content).__name__}")
    return content


def _required(path: Path, content: Mapping[str, Any], name: str, kind: type) -> Any:
    value = content.get(name)
    if not isinstance(value, kind):
        raise RunDirectoryError(f"{path}: {name} must be of type {kind.__name__}, but got {value!r}")
    return value


def _objectives(path: Path, content: Mapping[str, Any]) -> tuple[Objective, ...]:
    entries = _required(path, content, "objectives", list)
    if len(entries) < 2:
        raise RunDirectoryError(f"{path}: objectives must name at least two metrics, but got {entries}")
    return tuple(_objective(path, entry) for entry in entries)


def _constraint(path: Path, entry: Any) -> Constraint:
    try:
        return Constraint(str(entry["metric"]), entry["sense"], float(entry["bound"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(
            f"{path}: a constraint must hold metric, sense and bound, but got {entry!r} ({error})"
        ) from error


def _objective(path: Path, entry: Any) -> Objective:
    if not isinstance(entry, dict) or not isinstance(entry.get("metric"), str):
        raise RunDirectoryError(f"{path}: every objective must be an object with a metric, but got {entry!r}")
    if entry.get("direction") not in ("maximize", "minimize"):
        raise RunDirectoryError(
            f"{path}: the direction of {entry['metric']!r} must be maximize or minimize, "
            f"but got {entry.get('direction')!r}"
        )
    return Objective(
        metric=entry["metric"],
        direction=entry["direction"],
        unit=str(entry.get("unit", "")),
        label=str(entry.get("label", entry["metric"])),
    )
