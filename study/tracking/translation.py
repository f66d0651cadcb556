"""What each event of a journal becomes in MLflow: metrics and tags, in batches; files and models, one by one."""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.config import flatten
from study.tracking.batches import Batches
from study.tracking.cursor import Cursor
from study.tracking.registry import ModelRegistry
from study.tracking.runs import StudyRuns

log = logging.getLogger(__name__)

Event = Mapping[str, Any]

BARRIERS = ("files", "model", "aliases")
"""Events that are acted upon when all before them was sent."""

_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED", "INTERRUPTED": "KILLED"}
_POINT = re.compile(r"trial (\d+) at \d+")
_POINT_OF_PAIR = re.compile(r"(?:^|--)(\d{4,})-\d{7,}(?=--| )")


class Sender:
    """Takes a journal's events in order; nothing is kept on the disk but what the cursor notes."""

    def __init__(self, client: Any, run_dir: Path, study: Event, cursor: Cursor, artifacts: str | None) -> None:
        """Begin where the cursor is.

        Args:
            client: of MLflow.
            run_dir: what files are named relative to.
            study: the content of `study.json`.
            cursor: the notes, which this changes as it goes.
            artifacts: where a new experiment's artifacts go; None leaves it to the server.
        """
        self.client, self._run_dir, self._study, self._cursor = client, run_dir, study, cursor
        self.runs = StudyRuns(client, study, cursor, artifacts)
        self._batches = Batches()
        self._registry = ModelRegistry(client, study, cursor)

    @property
    def waiting(self) -> int:
        """How many metrics, parameters and tags are gathered and not sent."""
        return self._batches.size

    def flush(self) -> None:
        """Send what is gathered."""
        self._batches.send(self.client)

    def take(self, event: Event) -> None:
        """Gather what an event says, or, where it is one of `BARRIERS`, do it now."""
        match event["event"]:
            case "trial":
                self._begin_trial(event)
            case "point":
                terms = {f"term.{name}": value for name, value in event["terms"].items()}
                # How many iterations it took is the step of all the others.
                budget = {name: value for name, value in event["budget"].items() if name != "iterations"}
                self._add(event, self._trial(event), event["metrics"] | terms | budget, step=event["iteration"])
            case "end":
                self._end_trial(event)
            case "artifact":
                facts = {name: event.get(name) for name in ("stage", "state", "cause", "metrics", "budget", "reused")}
                self._add(event, self._parent(event), tags={event["key"]: json.dumps(facts)})
            case "reference":
                metrics = {f"{event['kind']}.{name}": value for name, value in event["metrics"].items()}
                self._add(event, self._parent(event), metrics)
            case "front":
                self._move_front(event)
            case "interpolation":
                self._add_interpolation(event)
            case "enough":
                self._add(event, self._parent(event), tags={"enough": event["cause"]})
            case "study":
                self._mark_study(event)
            case "files":
                self._upload(event, event["folder"], event["paths"])
            case "model":
                self._upload(event, event["folder"], event["paths"])
                self._registry.register(event, self._run_of(event))
            case "aliases":
                self._registry.name(event)

    def give_up(self, event: Event, why: str) -> None:
        """Leave out files or a model that the server, which answers, will not take."""
        what = f"{event['event']} {event.get('folder', '')}".strip()
        log.warning("MLflow does not take %s: %s. It is left out.", what, why)
        self._add(event, self._run_of(event), tags={f"left_out.{what}"[:200]: why})

    def answers(self) -> bool:
        """Whether the server is there, apart from what it thinks of files."""
        try:
            self.client.get_run(self._cursor.parent)
        except Exception:
            return False
        return True

    def _begin_trial(self, event: Event) -> None:
        recipe = event["config"].get("recipe", self._study["recipe"])
        params = {name: str(value) for name, value in flatten(event["config"]).items()}
        self._add(event, self._trial(event), params=params, tags={"recipe": recipe, **event["upstream"]})

    def _end_trial(self, event: Event) -> None:
        run = self._trial(event)
        measured = {name: event.get(name) for name in ("overhead_seconds", "seconds")}
        metrics = {name: value for name, value in measured.items() if value is not None}
        self._add(event, run, metrics, tags={"state": event["state"], "cause": event["cause"]})
        self._batches.set_status(run, _STATUS[event["state"]], _milliseconds(event))

    def _mark_study(self, event: Event) -> None:
        parent, state = self._parent(event), event["state"]
        self._add(event, parent, tags={"state": state})
        if state == "RUNNING":
            self._batches.set_status(parent, state)
        else:
            self._batches.set_status(parent, _STATUS[state], _milliseconds(event))

    def _move_front(self, event: Event) -> None:
        metrics = {"hypervolume": event["hypervolume"], "front_size": len(event["members"])}
        self._add(event, self._parent(event), metrics, step=event["trials_ended"])
        before, now = self._cursor.front, on_front(event["members"])
        for trial in sorted(before.keys() | now.keys()):
            if before.get(trial) != now.get(trial):
                points, interpolations = now.get(trial, [0, 0])
                tags = {
                    "front": "yes" if trial in now else "no",
                    "front.points": points,
                    "front.interpolations": interpolations,
                }
                self._add(event, self.runs.trial(int(trial), event["time"]), tags=tags)
        self._cursor.front = now

    def _add_interpolation(self, event: Event) -> None:
        """Objectives alone, by the share in percent, in the run of the trial that it is an interpolation of.

        A trial's interpolations with its own fidelity generator go from that (0) to the trial's point (100); those of two
        neighbours go into the second's run under names of their own.
        """
        parents = event["parents"]
        trials = [parent["trial"] for parent in reversed(parents) if parent["trial"] is not None]
        run = self.runs.trial(trials[0], event["time"]) if trials else self._parent(event)
        kind = "interpolation" if len(trials) == 1 else "interpolation_of_neighbours"
        share = event["share"] if len(trials) != 1 or parents[1]["trial"] is not None else 1 - event["share"]
        names = [objective["metric"] for objective in self._study["objectives"]]
        metrics = {f"{kind}.{event['space']}.{name}": event["metrics"][name] for name in names}
        self._add(event, run, metrics, step=round(100 * share))

    def _upload(self, event: Event, folder: str, paths: Sequence[str]) -> None:
        run, missing = self._run_of(event), []
        for path in paths:
            file = self._readable(path)
            if file is None:
                missing.append(path)
            else:
                self.client.log_artifact(run, str(file), folder)
        if missing:
            log.warning("these files were to go to MLflow, but are not there any more: %s", ", ".join(missing))
            self._add(event, run, tags={f"missing.{folder}"[:200]: ", ".join(missing)})

    def _readable(self, path: str) -> Path | None:
        """A file of the run directory; None for one that is gone, or that a name leads to outside of it."""
        file = (self._run_dir / path).resolve()
        if not file.is_relative_to(self._run_dir.resolve()) or not file.is_file():
            return None
        try:
            file.open("rb").close()
        except OSError:
            return None
        return file

    def _add(
        self,
        event: Event,
        run: str,
        metrics: Mapping[str, float] | None = None,
        *,
        step: int = 0,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        self._batches.add(run, _milliseconds(event), metrics, step=step, params=params, tags=tags)

    def _parent(self, event: Event) -> str:
        return self.runs.parent(event["time"])

    def _trial(self, event: Event) -> str:
        return self.runs.trial(event["trial"], event["time"])

    def _run_of(self, event: Event) -> str:
        """A trial's run, or the study's where an event names no trial."""
        return self._parent(event) if event.get("run") is None else self.runs.trial(event["run"], event["time"])


def on_front(members: Iterable[str]) -> dict[str, list[int]]:
    """How many points and interpolations of each trial are among a front's members; an interpolation is its second parent's."""
    standing: dict[str, list[int]] = {}
    for member in members:
        point, of_pair = _POINT.fullmatch(member), _POINT_OF_PAIR.findall(member)
        if point is not None:
            standing.setdefault(point.group(1), [0, 0])[0] += 1
        elif of_pair:
            standing.setdefault(str(int(of_pair[-1])), [0, 0])[1] += 1
    return standing


def _milliseconds(event: Event) -> int:
    return int(event["time"] * 1000)
