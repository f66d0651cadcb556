"""Jobs that interpolate what a study has trained, so that its front gets denser for the price of evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from study.cluster.jobs import Job
from study.config import RunConfig, digest, from_dict, to_dict
from study.record.state import Records
from study.search.interpolation import Pair, Parent, neighbours, shares_of, with_own_generators
from study.search.pareto_archive import Candidate, ParetoArchive

Extent = Literal["front", "all"]


@dataclass
class InterpolationJobs:
    """Says which pairs are still to be interpolated.

    When a trial has ended, the last of its points that is on the front is interpolated with its own fidelity generator. Once
    nothing trains any more, all points on the front are, and the front's neighbours among each other.

    Attributes:
        records: of the study.
        front: of the study.
        interpolations: how many of a pair, evenly between the two; 0 for none at all.
        extent: `all` interpolations every point with its fidelity generator, for a recording that is to be replayed.
    """

    records: Records
    front: ParetoArchive
    interpolations: int
    extent: Extent = "front"
    _known: tuple[Any, dict[str, Pair]] | None = field(default=None, repr=False)

    def jobs(self, last: bool) -> Iterator[Job]:
        """The jobs for all pairs that are to be interpolated by now and have not been; `last` once nothing trains."""
        if self.interpolations:
            for name, pair in self._pairs(last).items():
                if name not in self.records.pairs:
                    yield self._job(name, pair)

    def _pairs(self, last: bool) -> dict[str, Pair]:
        """Every pair by its name, whichever of the two comes first."""
        state = (last, len(self.records.points), len(self.records.interpolations), tuple(self.records.states.values()))
        if self._known is None or self._known[0] != state:
            self._known = (state, self._find_pairs(last))
        return self._known[1]

    def _find_pairs(self, last: bool) -> dict[str, Pair]:
        members = [candidate for candidate in self.front.members if _is_trained(candidate)]
        front = [self._parent(candidate) for candidate in members]
        front = [parent for parent in front if parent.trial is None or self._has_ended(parent.trial)]
        points = self._all_points() if self.extent == "all" else front if last else _last_of_each(front)
        pairs = with_own_generators(points, [self._generator(key) for key in self._generator_keys()])
        pairs += neighbours(front) if last else []
        unique: dict[frozenset[Parent], Pair] = {}
        for pair in pairs:
            unique.setdefault(frozenset((pair.first, pair.second)), pair)
        return {_name(pair): pair for pair in unique.values()}

    def _all_points(self) -> list[Parent]:
        return [self._point(*key) for key in self.records.live_points() if self._has_ended(key[0])]

    def _has_ended(self, trial: int) -> bool:
        return self.records.states[trial] in ("COMPLETE", "PRUNED")

    def _generator_keys(self) -> list[str]:
        """Of those that were evaluated, and that a trial starts from."""
        used = {upstream.get("fidelity") for upstream in self.records.upstream.values()}
        return [key for key in self.records.references if key in used]

    def _parent(self, candidate: Candidate) -> Parent:
        if candidate.fidelity is not None:
            return self._generator(candidate.fidelity)
        assert candidate.trial is not None
        assert candidate.iteration is not None
        return self._point(candidate.trial, candidate.iteration)

    def _point(self, trial: int, iteration: int) -> Parent:
        return Parent(
            trial, iteration, self.records.upstream[trial].get("fidelity"), _form(self.records.configs[trial])
        )

    def _generator(self, key: str) -> Parent:
        """SPSR's fidelity generator is a part of its network, not the same one: only its images can be interpolated."""
        generator = self._run_from(key).generator
        form = "a part" if generator.fidelity_form != generator else _form(self.records.configs[self._trial_from(key)])
        return Parent(None, None, key, form)

    def _trial_from(self, key: str) -> int:
        """A trial that starts from a fidelity generator."""
        return next(trial for trial, upstream in self.records.upstream.items() if upstream.get("fidelity") == key)

    def _run_from(self, key: str) -> RunConfig:
        return from_dict(self.records.configs[self._trial_from(key)])

    def _config(self, parent: Parent) -> RunConfig:
        if parent.trial is not None:
            return from_dict(self.records.configs[parent.trial])
        assert parent.fidelity is not None
        return self._run_from(parent.fidelity)

    def _job(self, name: str, pair: Pair) -> Job:
        config = self._config(pair.second)
        spaces = pair.spaces if self.extent == "front" else [space for space in pair.spaces if space == "weights"]
        parents = [self._described(parent) for parent in (pair.first, pair.second)]
        detail = {"parents": parents, "spaces": list(spaces), "shares": list(shares_of(self.interpolations))}
        return Job(name, "interpolation", "adversarial", config, ready_at=0.0, pair=detail)

    def _described(self, parent: Parent) -> dict[str, Any]:
        config = self._config(parent)
        where = {"trial": parent.trial, "iteration": parent.iteration, "fidelity": parent.fidelity}
        return {**where, "label": parent.label, "config": to_dict(config)}


def _last_of_each(points: list[Parent]) -> list[Parent]:
    """Of each trial its last point: those before it lie nearer to the fidelity generator, as the interpolations do."""
    last = {point.trial: point for point in sorted(points, key=lambda point: point.iteration or 0)}
    return [point for point in points if last[point.trial] is point]


def _form(config: dict[str, Any]) -> str:
    return digest({**config["generator"], "init": None})


def _is_trained(candidate: Candidate) -> bool:
    return candidate.trial is not None or candidate.fidelity is not None


def _name(pair: Pair) -> str:
    return f"{_short(pair.first)}--{_short(pair.second)}"


def _short(parent: Parent) -> str:
    if parent.trial is None:
        assert parent.fidelity is not None
        return parent.fidelity
    return f"{parent.trial:04d}-{parent.iteration:07d}"


def parents_of(job: Job) -> Sequence[dict[str, Any]]:
    """The two parents of an interpolation's job, as they are recorded: without their configurations."""
    assert job.pair is not None
    return [{name: value for name, value in parent.items() if name != "config"} for parent in job.pair["parents"]]
