"""What has happened in a study, kept in its journal: written once each, whoever tells it how often."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from study.cluster.journal import Journal
from study.config import to_dict
from study.training.stages import Need

Facts = Mapping[str, Any]


class Records:
    """The driver's memory of a study; opened on an existing journal, it knows what is there.

    Attributes:
        states: how each drawn trial stands: RUNNING, COMPLETE, PRUNED or FAILED.
        causes: why trials failed.
        points: the metrics of each point, by (trial, iteration).
        artifacts: the last event of each artifact.
        references: metrics by name: bicubic, and the fidelity generators by key.
        overheads: seconds from ready to the training function entered, of trials on warm workers.
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
        self._upstream: dict[int, dict[str, str]] = {}
        for event in journal.events():
            self._take(event)

    @property
    def uses(self) -> Counter[str]:
        """How many trials start from each artifact."""
        return Counter(key for upstream in self._upstream.values() for key in upstream.values())

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

    def death(self, name: str, trial: int | None, iteration: int, cause: str) -> None:
        """The process of a job died, after it had reached an iteration; the job may be started anew."""
        self._write("death", name=name, trial=trial, iteration=iteration, cause=cause)

    def artifact_made(self, need: Need, facts: Facts, *, reference_scale: int) -> None:
        """An artifact was trained or found, and judged (`training.stages.make_artifact`).

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
        """A reference to compare points with was judged."""
        if name not in self.references:
            self._write("reference", name=name, **facts)

    def front(self, **facts: Any) -> None:
        """The front moved on."""
        self._write("front", **facts)

    def study(self, state: str) -> None:
        """The study started, went on, was interrupted or ended."""
        self._write("study", state=state)

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

    def _write(self, event: str, **facts: Any) -> None:
        self.journal.append(event, **facts)
        self._take({"event": event, **facts})

    def _take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "trial":
                self.states.setdefault(event["trial"], "RUNNING")
                self._upstream[event["trial"]] = event["upstream"]
            case "point":
                self.points[event["trial"], event["iteration"]] = event["metrics"]
            case "end":
                self.states[event["trial"]] = event["state"]
                self._take_end(event)
            case "artifact":
                self.artifacts[event["key"]] = event
            case "reference":
                self.references[event["name"]] = event["metrics"]

    def _take_end(self, event: dict[str, Any]) -> None:
        if event["cause"] is not None:
            self.causes[event["trial"]] = event["cause"]
        if event.get("warm") and event.get("overhead_seconds") is not None:
            self.overheads.append(event["overhead_seconds"])
        if event.get("seconds") is not None:
            self.durations.append(event["seconds"])
