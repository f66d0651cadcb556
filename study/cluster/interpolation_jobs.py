"""Jobs that interpolate what a study has trained, so that its front gets denser for the price of evaluation."""

from collections.abc import Iterator

from study.cluster.jobs import Job
from study.cluster.messages import PairSpec, ParentSpec
from study.config import from_dict
from study.search.interpolation import InterpolationPlan


def interpolation_jobs(plan: InterpolationPlan, last: bool) -> Iterator[Job]:
    """Yield a job of each pair that is due and has not been done; `last` once nothing trains any more."""
    for pair in plan.pairs(last):
        first, second = (ParentSpec(parent.point, plan.config_of(parent)) for parent in (pair.first, pair.second))
        detail = PairSpec(first, second, pair.spaces, plan.shares)
        yield Job(pair.name, "interpolation", None, from_dict(second.config), ready_at=0.0, pair=detail)
