"""What a finished study shows in MLflow beyond numbers: crops, weights and the report, as events of its journal.

The driver records them; the exporter, which follows the journal, uploads them. Recorded once, they are not again by a
study that is continued, unless they changed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import moocore
import numpy as np

from study import __version__
from study.files import write_atomically, write_json
from study.record.state import Records
from study.search.front import as_losses
from study.search.pareto_archive import Candidate, Goals, ParetoArchive
from study.training.artifact_store import WEIGHTS, ArtifactFolder

Report = Callable[[Path], Iterable[Path]]
"""Makes a study's report from its directory; returns its files."""

_MODEL_FILES = (WEIGHTS, "config.json", "MLmodel")
# Names a folder of two files to MLflow; no flavour of it could load them without running code.
_MLMODEL = """flavors:
  aesop_study:
    config: config.json
    version: {version}
    weights: weights.safetensors
"""


@dataclass(frozen=True)
class _Evaluated:
    """Something that was evaluated: whose run it belongs to, and where its crops are."""

    trial: int | None
    samples: str | None


def publish(
    output: Path, records: Records, goals: Goals, artifacts: ArtifactFolder, report: Report | None
) -> list[str]:
    """Record what a finished study is to show.

    Args:
        output: the study's directory.
        records: of it.
        goals: what its front is of.
        artifacts: where fidelity generators are.
        report: makes the report.

    Returns:
        What could not be published, a sentence each. Nothing of it makes the study less complete.
    """
    front = ParetoArchive(records, goals)
    steps: dict[str, Callable[[], None]] = {
        "the front": lambda: _publish_front(records, front),
        "sample crops": lambda: _publish_samples(output, records, front),
        "weights": lambda: _publish_models(output, records, front, goals, artifacts),
        "the report": lambda: _publish_report(output, records, report),
    }
    problems = []
    for what, step in steps.items():
        try:
            step()
        except Exception as error:  # whatever it is: the study is complete
            problems.append(f"{what} could not be published: {type(error).__name__}: {error}")
    return problems


def record_front(records: Records, front: ParetoArchive, *, final: bool = False) -> None:
    """Record the front as it is now."""
    ended = sum(state != "RUNNING" for state in records.states.values())
    members = [member.label for member in front.members]
    record = records.last_front if final else records.front
    record(trials_ended=ended, hypervolume=front.hypervolume, members=members)


def contributions(members: Sequence[Candidate], goals: Goals) -> list[float]:
    """The hypervolume that the front would lose without each of its members."""
    directions = list(goals.directions.values())
    losses = as_losses(np.array([member.values for member in members]), directions)
    corner = as_losses(np.array([list(goals.reference.values())]), directions)[0]
    return [float(value) for value in moocore.hv_contributions(losses, ref=corner)]


def aliases(members: Sequence[Candidate], registered: Iterable[str], goals: Goals) -> dict[str, str]:
    """Name members of a front with registered weights, by label: its ends, and between them the one that adds most.

    What the ends add to the hypervolume depends on where its reference point is, and where that is far away they
    would always be the ones that add most: so they are balanced only if there is nothing between.
    """
    named = set(registered)
    having = [index for index, member in enumerate(members) if member.label in named]
    if not having:
        return {}
    added = contributions(members, goals)
    losses = as_losses(np.array([member.values for member in members]), list(goals.directions.values()))
    ends = [min(having, key=lambda index, axis=axis: losses[index, axis]) for axis in (0, 1)]  # type: ignore[misc]
    between = [index for index in having if index not in ends] or having
    best = max(between, key=lambda index: added[index])
    chosen = {"most-faithful": ends[0], "most-perceptual": ends[1], "balanced": best}
    return {alias: members[index].label for alias, index in chosen.items()}


def _publish_front(records: Records, front: ParetoArchive) -> None:
    record_front(records, front, final=True)


def _publish_samples(output: Path, records: Records, front: ParetoArchive) -> None:
    evaluated = _evaluated(records)
    for name in ("hr", "lq"):
        _publish_folder(output, records, None, f"references/{name}")
    for reference in records.references:
        _publish_folder(output, records, None, evaluated["reference", reference].samples)
    for member in front.members:
        found = evaluated[_key(member)]
        _publish_folder(output, records, found.trial, found.samples)


def _publish_folder(output: Path, records: Records, trial: int | None, folder: str | None) -> None:
    """Publish a folder of crops under `samples/`, without what a trial's own run need not repeat of its path."""
    if folder is None:
        return
    files = sorted((output / folder).glob("*.png"))
    if files:
        shown = folder if trial is None else folder.removeprefix(f"trials/{trial:04d}/points/")
        _record_files(output, records, trial, f"samples/{shown}", files)


def _publish_report(output: Path, records: Records, report: Report | None) -> None:
    if report is not None:
        _record_files(output, records, None, "report", list(report(output)))


def _record_files(output: Path, records: Records, trial: int | None, folder: str, files: Sequence[Path]) -> None:
    content = hashlib.sha256()
    for file in files:
        content.update(hashlib.sha256(file.read_bytes()).digest())
    paths = [file.relative_to(output).as_posix() for file in files]
    records.files(trial, folder, paths, content.hexdigest()[:16])


def _publish_models(
    output: Path, records: Records, front: ParetoArchive, goals: Goals, artifacts: ArtifactFolder
) -> None:
    """Register the weights on the front; interpolations of images, and points whose files are gone, have none."""
    evaluated, members, registered = _evaluated(records), front.members, []
    for member in members:
        weights = _weights_of(member, output, artifacts)
        if weights is None or not weights.is_file():
            continue
        trial = evaluated[_key(member)].trial
        folder = output / "models" / _slug(member)
        _write_model(folder, weights, _config_of(member, trial, records, weights))
        paths = [(folder / name).relative_to(output).as_posix() for name in _MODEL_FILES]
        tags = {
            **{name: f"{value:.6g}" for name, value in _metrics_of(member, records).items()},
            "trial": trial,
            "iteration": member.iteration,
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()[:16],
        }
        records.model(trial, member.label, folder.relative_to(output).as_posix(), paths, tags)
        registered.append(member.label)
    records.aliases(aliases(members, registered, goals), [member.label for member in members])


def _weights_of(member: Candidate, output: Path, artifacts: ArtifactFolder) -> Path | None:
    if member.trial is not None:
        return output / "trials" / f"{member.trial:04d}" / "points" / f"{member.iteration:07d}.safetensors"
    if member.fidelity is not None:
        return artifacts.open(member.fidelity) / WEIGHTS if artifacts.has(member.fidelity) else None
    assert member.interpolation is not None
    # The worker that evaluated an interpolation of weights left them there; one of images has none.
    return output / "interpolations" / member.interpolation[0] / f"{member.interpolation[1]}.safetensors"


def _config_of(member: Candidate, trial: int | None, records: Records, weights: Path) -> dict[str, Any]:
    """What stands beside a model's weights, and names the network that they are of."""
    if member.fidelity is not None:
        return dict(json.loads((weights.parent / "config.json").read_text()))
    assert trial is not None
    return {"key": member.label, "config": records.configs[trial]}


def _write_model(folder: Path, weights: Path, config: Mapping[str, Any]) -> None:
    write_json(folder / "config.json", config)
    write_atomically(folder / "MLmodel", _MLMODEL.format(version=__version__).encode())
    linked = folder / WEIGHTS
    linked.unlink(missing_ok=True)
    try:
        os.link(weights, linked)
    except OSError:  # another file system, or one without links
        shutil.copyfile(weights, linked)


def _metrics_of(member: Candidate, records: Records) -> Mapping[str, float]:
    if member.trial is not None:
        return records.points[member.trial, member.iteration or 0]
    return (
        records.references[member.fidelity]
        if member.fidelity is not None
        else records.interpolations[_interpolation(member)]
    )


def _slug(member: Candidate) -> str:
    """A name for a folder."""
    if member.trial is not None:
        return f"trial-{member.trial:04d}-at-{member.iteration:07d}"
    return member.fidelity if member.fidelity is not None else "-".join(_interpolation(member))


def _interpolation(member: Candidate) -> tuple[str, str]:
    assert member.interpolation is not None
    return member.interpolation


def _key(member: Candidate) -> tuple[Any, ...]:
    if member.trial is not None:
        return ("point", member.trial, member.iteration)
    return ("reference", member.fidelity) if member.fidelity is not None else ("interpolation", *_interpolation(member))


def _evaluated(records: Records) -> dict[tuple[Any, ...], _Evaluated]:
    return dict(_read_evaluated(records))


def _read_evaluated(records: Records) -> Iterator[tuple[tuple[Any, ...], _Evaluated]]:
    """Everything that was evaluated, from the journal; an interpolation belongs to the last of its parents that is a trial."""
    for event in records.journal.events():
        match event["event"]:
            case "point":
                found = _Evaluated(event["trial"], event.get("samples"))
                yield ("point", event["trial"], event["iteration"]), found
            case "reference":
                yield ("reference", event["name"]), _Evaluated(None, event.get("samples"))
            case "interpolation":
                trials = [parent["trial"] for parent in event["parents"] if parent["trial"] is not None]
                found = _Evaluated(trials[-1] if trials else None, event.get("samples"))
                yield ("interpolation", event["pair"], event["name"]), found
