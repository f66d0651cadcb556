"""What has happened in a study, kept in its journal: written once each, whoever tells it how often."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from study.config import to_dict
from study.record.journal import Journal
from study.search.asha import Decision
from study.search.constraints import COSTS
from study.training.stages.graph import Need

Facts = Mapping[str, Any]


class Records:
    """The driver's memory of a study; opened on an existing journal, it knows what is there.

    Attributes:
        states: how each drawn trial stands: RUNNING, COMPLETE, PRUNED or FAILED.
        causes: why trials failed, or were pruned.
        configs: of each trial, as plain types.
        upstream: the keys of each trial's artifacts, by stage.
        points: the metrics of each point, and what may be bounded of its costs, by (trial, iteration).
        artifacts: the last event of each artifact.
        references: metrics by name: bicubic, and the fidelity generators by key.
        interpolations: metrics by (pair, interpolation).
        pairs: how the evaluation of each pair's interpolations ended.
        overheads: seconds from ready to the training function entered, of trials on warm workers.
        hypervolumes: of the front, after each trial that ended.
        enough: what was said when no more trials were to be drawn: the limits then, and the cause.
        members: of the front, as it was recorded last.
        published: what was last recorded of files, models and aliases, by what they are.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.states: dict[int, str] = {}
        self.causes: dict[int, str] = {}
        self.points: dict[tuple[int, int], dict[str, float]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.references: dict[str, dict[str, float]] = {}
        self.overheads: list[float] = []
        self.durations: list[float] = []
        self.configs: dict[int, dict[str, Any]] = {}
        self.upstream: dict[int, dict[str, str]] = {}
        self.interpolations: dict[tuple[str, str], dict[str, float]] = {}
        self.pairs: dict[str, str] = {}
        self.hypervolumes: list[float] = []
        self.enough: dict[str, Any] | None = None
        self.members: list[str] | None = None
        self.published: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._seconds: dict[Any, float] = {}
        for event in journal.events():
            self._take(event)

    @property
    def uses(self) -> Counter[str]:
        """How many trials start from each artifact."""
        return Counter(key for upstream in self.upstream.values() for key in upstream.values())

    @property
    def device_seconds(self) -> float:
        """Spent on training and evaluation so far, by what was recorded; artifacts found from before cost nothing."""
        return sum(self._seconds.values())

    def trial(self, number: int, config: Facts, params: Facts, upstream: Mapping[str, str]) -> None:
        """A trial was drawn, or taken up again."""
        if number not in self.states:
            self._write("trial", trial=number, config=config, params=params, upstream=upstream)

    def point(self, number: int, facts: Facts) -> None:
        """A trial reached a point."""
        if (number, facts["iteration"]) not in self.points:
            self._write("point", trial=number, **facts)

    def end(self, number: int, state: str, *, cause: str | None = None, **facts: Any) -> None:
        """A trial ended."""
        if self.states.get(number, "RUNNING") == "RUNNING":
            self._write("end", trial=number, state=state, cause=cause, **facts)

    def rung(self, decision: Decision) -> None:
        """A trial was compared with others."""
        self._write("rung", **asdict(decision))

    def interpolation(self, pair: str, name: str, facts: Facts) -> None:
        """An interpolation of two generators was evaluated."""
        if (pair, name) not in self.interpolations:
            self._write("interpolation", pair=pair, name=name, **facts)

    def pair(self, name: str, state: str, cause: str | None = None) -> None:
        """All interpolations of a pair are evaluated, or cannot be."""
        self._write("pair", name=name, state=state, cause=cause)

    def no_more(self, limits: Facts, cause: str) -> None:
        """No more trials are to be drawn, by the limits of the study."""
        self._write("enough", limits=limits, cause=cause)

    def death(self, name: str, trial: int | None, iteration: int, cause: str) -> None:
        """The process of a job died, after it had reached an iteration; the job may be started anew."""
        self._write("death", name=name, trial=trial, iteration=iteration, cause=cause)

    def artifact_made(self, need: Need, facts: Facts, *, reference_scale: int) -> None:
        """An artifact was trained or found, and evaluated (`training.stages.make_artifact`).

        A fidelity generator of `reference_scale` is a point of the study, too.
        """
        kept = {name: facts[name] for name in ("budget", "reused", "metrics")}
        self._artifact(need, state="COMPLETE", cause=None, **kept)
        if need.stage == "fidelity" and need.config.data.scale == reference_scale:
            shown = {name: facts[name] for name in ("metrics", "images", "samples")}
            self.reference(need.key, kind="fidelity", **shown)

    def artifact_failed(self, need: Need, cause: str, traceback: str | None = None) -> None:
        """An artifact could not be trained."""
        self._artifact(need, state="FAILED", cause=cause, traceback=traceback)

    def reference(self, name: str, **facts: Any) -> None:
        """A reference to compare points with was evaluated."""
        if name not in self.references:
            self._write("reference", name=name, **facts)

    def front(self, **facts: Any) -> None:
        """The front moved on."""
        self._write("front", **facts)

    def last_front(self, **facts: Any) -> None:
        """The front of a finished study: interpolations may have moved it on since the last trial ended."""
        if self.members != facts["members"]:
            self._write("front", final=True, **facts)

    def files(self, trial: int | None, folder: str, paths: Sequence[str], content: str) -> None:
        """Files of the run directory belong to a trial, or to the study, for whoever reads MLflow.

        Args:
            trial: its number; None for the study.
            folder: under which they are to be found there.
            paths: relative to the run directory.
            content: hash of what is in them: files that changed are recorded again.
        """
        self._publish("files", ("files", trial, folder), run=trial, folder=folder, paths=list(paths), content=content)

    def model(self, trial: int | None, label: str, folder: str, paths: Sequence[str], tags: Facts) -> None:
        """Weights on the front are to be a version of the study's registered model; `folder` as for files."""
        self._publish("model", ("model", label), run=trial, label=label, folder=folder, paths=list(paths), tags=tags)

    def aliases(self, aliases: Mapping[str, str], members: Sequence[str]) -> None:
        """The registered weights that names such as `balanced` stand for, and those on the front, by their labels."""
        self._publish("aliases", ("aliases",), aliases=dict(aliases), members=list(members))

    def study(self, state: str) -> None:
        """The study started, went on, was interrupted or ended."""
        self._write("study", state=state)

    def last_iteration(self, number: int) -> int:
        """Of a trial's latest point; 0 if it has none."""
        return max((iteration for trial, iteration in self.points if trial == number), default=0)

    def last_metrics(self, number: int) -> dict[str, float] | None:
        """The metrics of a trial's latest point; None if it has none, or one of them is not finite."""
        iterations = [iteration for trial, iteration in self.points if trial == number]
        if not iterations:
            return None
        metrics = self.points[number, max(iterations)]
        return metrics if all(math.isfinite(value) for value in metrics.values()) else None

    def count(self, state: str) -> int:
        """How many trials stand like this."""
        return sum(value == state for value in self.states.values())

    def live_points(self) -> dict[tuple[int, int], dict[str, float]]:
        """The points of all trials that did not fail."""
        return {name: metrics for name, metrics in self.points.items() if self.states[name[0]] != "FAILED"}

    def _artifact(self, need: Need, **facts: Any) -> None:
        if self.artifacts.get(need.key, {}).get("state") != "COMPLETE":
            self._write("artifact", key=need.key, stage=need.stage, config=to_dict(need.config), **facts)

    def _publish(self, event: str, what: tuple[Any, ...], **facts: Any) -> None:
        """Record what is to be published, unless it stands there like this."""
        if self.published.get(what) != json.loads(json.dumps(facts)):
            self._write(event, **facts)

    def _write(self, event: str, **facts: Any) -> None:
        self.journal.append(event, **facts)
        self._take({"event": event, **facts})

    def _take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "trial":
                self.states.setdefault(event["trial"], "RUNNING")
                self.configs[event["trial"]] = event["config"]
                self.upstream[event["trial"]] = event["upstream"]
            case "point":
                self.points[event["trial"], event["iteration"]] = event["metrics"] | _bounded_costs(event)
                self._spend(event["trial"], event)
            case "end":
                self.states[event["trial"]] = event["state"]
                self._take_end(event)
            case "artifact":
                self.artifacts[event["key"]] = event
                if not event.get("reused"):
                    self._spend(event["key"], event)
            case "interpolation":
                self.interpolations[event["pair"], event["name"]] = event["metrics"]
                self._spend((event["pair"], event["name"]), event)
            case "pair":
                self.pairs[event["name"]] = event["state"]
            case "front":
                self.members = event["members"]
                if not event.get("final"):
                    self.hypervolumes.append(event["hypervolume"])
            case "files" | "model" | "aliases":
                self.published[_published(event)] = json.loads(
                    json.dumps({name: value for name, value in event.items() if name not in ("event", "time")})
                )
            case "enough":
                self.enough = {"limits": event["limits"], "cause": event["cause"]}
            case "reference":
                self.references[event["name"]] = event["metrics"]

    def _spend(self, what: Any, event: dict[str, Any]) -> None:
        """Note what something has cost by now; a trial's points count on."""
        seconds = (event.get("budget") or {}).get("device_seconds", 0.0)
        self._seconds[what] = max(seconds, self._seconds.get(what, 0.0))

    def _take_end(self, event: dict[str, Any]) -> None:
        if event["cause"] is not None:
            self.causes[event["trial"]] = event["cause"]
        if event.get("warm") and event.get("overhead_seconds") is not None:
            self.overheads.append(event["overhead_seconds"])
        if event.get("seconds") is not None:
            self.durations.append(event["seconds"])


def _published(event: Facts) -> tuple[Any, ...]:
    """What a published thing is told by."""
    parts = {"files": ("run", "folder"), "model": ("label",), "aliases": ()}[event["event"]]
    return (event["event"], *(event[part] for part in parts))


def _bounded_costs(event: Facts) -> dict[str, float]:
    budget = event.get("budget") or {}
    return {name: budget[name] for name in COSTS if name in budget}
