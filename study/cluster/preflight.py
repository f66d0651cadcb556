"""Checks of a cluster before anything runs: room for the workers; on every node the study's files and the right time."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.study import Resources
from study.config import ConfigError

MOST_SKEW_SECONDS = 60.0
ANSWER_SECONDS = 180.0
"""How long a node may take to answer: it may have to unpack the job's working directory first."""
ASK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class NodeView:
    """What a node sees.

    Attributes:
        name: its address.
        clock: seconds since the epoch, by its own clock.
        asked, answered: the same by the driver's clock, before and after.
        unseen: which of the paths are not there, by the option that names them.
    """

    name: str
    clock: float
    asked: float
    answered: float
    unseen: Mapping[str, str]

    @property
    def skew(self) -> float:
        """By how many seconds its clock is ahead of the driver's, at least; negative if it is behind."""
        if self.asked <= self.clock <= self.answered:
            return 0.0
        return self.clock - (self.asked if self.clock < self.asked else self.answered)


def check_nodes(paths: Mapping[str, Path], writable: Mapping[str, Path]) -> None:
    """Ask all nodes that can work.

    Args:
        paths: files and folders that workers read, by the option that names them.
        writable: folders that workers write into and others read from; each gets a file for the time of the question.

    Raises:
        ConfigError: which nodes do not see what, do not answer, or have another time, all of it at once.
    """
    markers = {option: folder / f".seen-by-{uuid.uuid4().hex}" for option, folder in writable.items()}
    for marker in markers.values():
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    try:
        views, silent = _ask({**paths, **markers})
    finally:
        for marker in markers.values():
            marker.unlink(missing_ok=True)
    named = {option: str(folder) for option, folder in {**paths, **writable}.items()}
    found = complaints(views, silent, named)
    if found:
        raise ConfigError("\n".join(["the cluster is not ready for a study:", *found]))


def complaints(views: Sequence[NodeView], silent: Mapping[str, str], paths: Mapping[str, str]) -> list[str]:
    """What is wrong with which nodes, a sentence each; `silent` says why a node gave no answer."""
    found = [
        f"node {name} did not answer ({why}); `ray status` says how it is, and requirements.lock what has to be there"
        for name, why in silent.items()
    ]
    for option, path in paths.items():
        blind = [view.name for view in views if option in view.unseen]
        if blind:
            found.append(
                f"{option} {path} is not seen on node {', '.join(blind)}; put it on storage that every node has at the "
                "same path (NFS), or, for data and artifacts, name it by a URI such as s3://bucket/place"
            )
    for view in views:
        if abs(view.skew) > MOST_SKEW_SECONDS:
            off = f"{abs(view.skew):.0f} s {'ahead of' if view.skew > 0 else 'behind'}"
            found.append(
                f"the clock of node {view.name} is {off} the driver's; records would have wrong times, and object "
                "stores refuse requests signed at another time: set the clocks (chrony or ntpd)"
            )
    return found


def _ask(paths: Mapping[str, Path]) -> tuple[list[NodeView], dict[str, str]]:
    """What each node sees, and why which gave no answer; those that have gone since belong to the cluster no more."""
    plain = {option: str(path) for option, path in paths.items()}
    names, asked, limit = _alive(), time.time(), time.monotonic() + ANSWER_SECONDS
    waiting = {_put(node, plain): node for node in names}
    views, silent = [], {}
    while waiting and time.monotonic() < limit:
        done, _ = ray.wait(list(waiting), timeout=limit - time.monotonic())
        for answer in done:
            node = waiting.pop(answer)
            try:
                clock, unseen = ray.get(answer)
                views.append(NodeView(names[node], clock, asked, time.time(), unseen))
            except TaskUnschedulableError:  # Ray takes a while to notice that a node is gone
                time.sleep(ASK_AGAIN_SECONDS)
                if node in _alive():
                    waiting[_put(node, plain)] = node
            except RayError as error:  # it died, or lacks what our code imports
                silent[node] = str(error).strip().splitlines()[-1]
    silent |= dict.fromkeys(waiting.values(), f"within {ANSWER_SECONDS:g} s")
    alive = _alive() if silent else {}
    return views, {names[node]: why for node, why in silent.items() if node in alive}


def _alive() -> dict[str, str]:
    """The addresses of the nodes that can work, by their ids."""
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    }


def _put(node: str, paths: dict[str, str]) -> Any:
    """Put the question to a node; returns what the answer will be."""
    look = ray.remote(num_cpus=0, max_retries=2)(_look)
    return look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(paths)


def _look(paths: dict[str, str]) -> tuple[float, dict[str, str]]:
    return time.time(), {option: path for option, path in paths.items() if not Path(path).exists()}


def slots_of(resources: Resources) -> int:
    """Return how many workers the connected cluster has room for at once."""
    there = ray.cluster_resources()
    slots = int(there.get("CPU", 0) // resources.cpus_per_trial)
    if resources.gpus_per_trial > 0:
        slots = min(slots, int(there.get("GPU", 0) / resources.gpus_per_trial + 1e-9))
    return slots


def check_room(resources: Resources) -> None:
    """Refuse workers that the cluster can never place; ConfigError."""
    workers, there = resources.most_workers, ray.cluster_resources()
    if slots_of(resources) >= workers:
        return
    raise ConfigError(
        f"a job needs {workers * resources.cpus_per_trial} CPUs and {workers * resources.gpus_per_trial:g} GPUs"
        f"{f' for its {workers} workers' if workers > 1 else ''}, but the cluster has "
        f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}; "
        f"lower {'--workers, --pretrain-workers, ' if workers > 1 else ''}--cpus-per-trial or --gpus-per-trial"
    )
