"""Jobs that interpolate what a study has trained, so that its front gets denser for the price of evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass

from study.cluster.jobs import Job
from study.cluster.messages import PairSpec, ParentSpec
from study.config import from_dict
from study.record.points import pair_name
from study.search.interpolation import InterpolationPlan, Pair, Parent, shares_of


@dataclass(frozen=True)
class InterpolationJobs:
    """Makes a job of each pair that a plan has due."""

    plan: InterpolationPlan

    def jobs(self, last: bool) -> Iterator[Job]:
        """Yield the jobs that are due and have not been done; `last` once nothing trains any more."""
        for pair in self.plan.pairs(last):
            yield self._job(pair)

    def _job(self, pair: Pair) -> Job:
        first, second = self._spec(pair.first), self._spec(pair.second)
        detail = PairSpec(first, second, pair.spaces, shares_of(self.plan.count))
        name = pair_name(first.point, second.point)
        return Job(name, "interpolation", None, from_dict(second.config), ready_at=0.0, pair=detail)

    def _spec(self, parent: Parent) -> ParentSpec:
        return ParentSpec(parent.point, self.plan.config_of(parent))
