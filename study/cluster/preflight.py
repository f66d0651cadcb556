"""Connect to a cluster, and check capacity for the workers, and the files and the clock of every node."""

import signal
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.connection import connected
from study.cluster.study import Resources, Study
from study.config import INITIAL_WEIGHTS, ConfigError, get
from study.data.remote import is_uri

MAX_SKEW_SECONDS = 60.0
RESPONSE_SECONDS = 180.0
"""Timeout of a node's report: it may have to unpack the job's working directory first."""
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class NodeReport:
    """A node's clock, and the paths that it cannot access.

    Attributes:
        name: its address.
        clock: seconds since the epoch, by the node's clock.
        sent, received: the same by the driver's clock, before and after.
        missing: paths that do not exist on the node, by the option that names them.
    """

    name: str
    clock: float
    sent: float
    received: float
    missing: Mapping[str, str]

    @property
    def skew(self) -> float:
        """Least number of seconds by which the clock is ahead of the driver's; negative if it is behind."""
        if self.sent <= self.clock <= self.received:
            return 0.0
        return self.clock - (self.sent if self.clock < self.sent else self.received)


@contextmanager
def ready_cluster(study: Study) -> Iterator[None]:
    """Connect to Ray, and check that a job fits and that every node has the study's files.

    Raises:
        ConnectionError: Ray cannot be reached or started.
        ConfigError: a job does not fit, or a node lacks files.
    """
    address = study.resources.address
    with ExitStack() as stack:
        # Ray's processes on this machine inherit it: they must outlive a closed terminal until the jobs have saved.
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            # Without the dashboard, Ray Train does not release the resources of a group that is stopped from outside.
            stack.enter_context(connected(address, dashboard=study.resources.most_workers > 1))
        finally:
            signal.signal(signal.SIGHUP, before)
        check_capacity(study.resources)
        if address != "local":
            check_nodes(*_paths(study))
        yield


def _paths(study: Study) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the paths that workers read, and those that they write, by the option that names them."""
    spec = study.context_spec
    sources = {"--data": spec.data.train, "--val": spec.data.val}
    reads = {option: Path(place) for option, place in sources.items() if place and Path(place).is_absolute()}
    files = [path for path in (*spec.backbones.values(), spec.lpips_weights) if path is not None]
    reads |= {f"--weights ({path.name})": path for path in files}
    reads |= {path: Path(str(get(study.base, path))) for path in INITIAL_WEIGHTS if get(study.base, path) is not None}
    writes = {"--output": study.output.resolve()}
    return reads, writes if is_uri(spec.artifacts) else writes | {"--artifacts": Path(spec.artifacts)}


def check_nodes(paths: Mapping[str, Path], writable: Mapping[str, Path]) -> None:
    """Check the files and the clock of every node that can run workers.

    Args:
        paths: files and folders that workers read, by the option that names them.
        writable: folders that workers share for writing; each has a marker file during the check.

    Raises:
        ConfigError: lists every node that lacks a path, does not respond, or has a wrong clock.
    """
    markers = {option: folder / f".seen-by-{uuid.uuid4().hex}" for option, folder in writable.items()}
    for marker in markers.values():
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    try:
        reports, unresponsive = _query_nodes({**paths, **markers})
    finally:
        for marker in markers.values():
            marker.unlink(missing_ok=True)
    named = {option: str(folder) for option, folder in {**paths, **writable}.items()}
    problems = describe_problems(reports, unresponsive, named)
    if problems:
        raise ConfigError(
            "\n".join(["the cluster is not ready for a study:", *(f"  {problem}" for problem in problems)])
        )


def describe_problems(
    reports: Sequence[NodeReport], unresponsive: Mapping[str, str], paths: Mapping[str, str]
) -> list[str]:
    """Return a sentence for each problem of the nodes.

    Args:
        reports: of the nodes that responded.
        unresponsive: reasons by name of the other nodes.
        paths: the checked paths, by the option that names them.
    """
    found = [
        f"node {name} did not respond ({reason}); check `ray status`, and its packages against requirements.lock"
        for name, reason in unresponsive.items()
    ]
    for option, path in paths.items():
        nodes = [report.name for report in reports if option in report.missing]
        if nodes:
            found.append(
                f"{option} {path} does not exist on node {', '.join(nodes)}; put it on storage that every node mounts "
                "at the same path (NFS), or, for data and artifacts, give a URI such as s3://bucket/place"
            )
    for report in reports:
        if abs(report.skew) > MAX_SKEW_SECONDS:
            off = f"{abs(report.skew):.0f} s {'ahead of' if report.skew > 0 else 'behind'}"
            found.append(
                f"the clock of node {report.name} is {off} the driver's: events would have wrong times, and object "
                "stores reject requests with wrong times; synchronise the clocks (chrony or ntpd)"
            )
    return found


def _query_nodes(paths: Mapping[str, Path]) -> tuple[list[NodeReport], dict[str, str]]:
    """Return the nodes' reports, and why the others did not respond; nodes that left the cluster are left out."""
    plain = {option: str(path) for option, path in paths.items()}
    names, sent, limit = _alive_nodes(), time.time(), time.monotonic() + RESPONSE_SECONDS
    waiting = {_submit(node, plain): node for node in names}
    reports, unresponsive = [], {}
    while waiting and time.monotonic() < limit:
        done, _ = ray.wait(list(waiting), timeout=limit - time.monotonic())
        for task in done:
            node = waiting.pop(task)
            try:
                clock, missing = ray.get(task)
                reports.append(NodeReport(names[node], clock, sent, time.time(), missing))
            except TaskUnschedulableError:  # the node may be new, or Ray has not yet detected that it is gone
                time.sleep(RETRY_SECONDS)
                if node in _alive_nodes():
                    waiting[_submit(node, plain)] = node
            except RayError as error:  # the node died, or lacks a package
                unresponsive[node] = str(error).strip().splitlines()[-1]
    unresponsive |= dict.fromkeys(waiting.values(), f"within {RESPONSE_SECONDS:g} s")
    alive = _alive_nodes() if unresponsive else {}
    return reports, {names[node]: reason for node, reason in unresponsive.items() if node in alive}


def _alive_nodes() -> dict[str, str]:
    """Return the addresses of the nodes that can run workers, by their ids."""
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    }


def _submit(node: str, paths: dict[str, str]) -> Any:
    """Start `_probe` on a node; return the reference of its result."""
    probe = ray.remote(num_cpus=0, max_retries=2)(_probe)
    return probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(paths)


def _probe(paths: dict[str, str]) -> tuple[float, dict[str, str]]:
    return time.time(), {option: path for option, path in paths.items() if not Path(path).exists()}


def slots_of(resources: Resources) -> int:
    """Return how many workers fit on the connected cluster at once."""
    total = ray.cluster_resources()
    slots = int(total.get("CPU", 0) // resources.cpus_per_trial)
    if resources.gpus_per_trial > 0:
        slots = min(slots, int(total.get("GPU", 0) / resources.gpus_per_trial + 1e-9))
    return slots


def check_capacity(resources: Resources) -> None:
    """Raise ConfigError if the cluster is too small for the workers of one job."""
    workers, total = resources.most_workers, ray.cluster_resources()
    if slots_of(resources) >= workers:
        return
    raise ConfigError(
        f"a job needs {workers * resources.cpus_per_trial} CPUs and {workers * resources.gpus_per_trial:g} GPUs"
        f"{f' for its {workers} workers' if workers > 1 else ''}, but the cluster has "
        f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g}; "
        f"lower {'--workers, --pretrain-workers, ' if workers > 1 else ''}--cpus-per-trial or --gpus-per-trial"
    )
