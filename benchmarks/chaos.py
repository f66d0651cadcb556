"""Is anything lost, done twice or changed when parts of a study are killed? Against the same study undisturbed.

python -m benchmarks.chaos                       (24 kills over 16 trials; about a quarter of an hour on 2 cores)
python -m benchmarks.chaos --kills 5 --interpolation-kills 1 --trials 4

One machine plays a cluster: a head, and nodes with one core each. The study of tiny trials runs once undisturbed and
once with kills (SIGKILL), each at a random moment: at a random number of points, plus up to three seconds. Killed are
the process of a trial or artifact; a whole node, which another one replaces; the actor that keeps the leases; the
driver, which is restarted with `--resume`; and the head with the driver and the cluster's state, after which a new
cluster is started. Further kills of workers and of the driver follow while points are interpolated, at a random number
of interpolations.

A trial is lost if it is not COMPLETE in the journal, in Optuna and in MLflow. It is duplicated if its end, a point, its
MLflow run, an artifact or an interpolation is recorded more than once. The front of the points has to be bit-identical,
and so have the interpolations that both studies made: which others they make depends on when trials end. The exit code
is 1 if one of these fails.
"""

import argparse
import contextlib
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
from mlflow import MlflowClient
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from benchmarks.tiny_study import POINTS_A_TRIAL, Driver, write_material
from study.record.events import (
    ArtifactEnded,
    Event,
    InterpolationEvaluated,
    PairEnded,
    PointEvaluated,
    TrialEnded,
    WorkerDied,
)
from study.record.metadata import read_metadata
from study.search.front import non_dominated

NODES = 2
INTERPOLATION_KINDS = ("trial", "driver")
KINDS = ("trial", "trial", "trial", "node", "driver", "keeper", "node", "trial", "driver", "head")
"""What is killed, in equal shares, in a random order."""


@dataclass
class Machine:
    """A cluster on this machine, and the driver of a study on it."""

    driver: Driver
    cluster: Cluster | None = None
    nodes: list[Any] = field(default_factory=list)

    def start(self) -> None:
        """Start a head without cores, nodes with one each, and the driver."""
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(NODES)]
        self.driver.environment = {"RAY_ADDRESS": self.cluster.address}
        self.driver.start()

    def stop(self) -> None:
        """Kill the driver, and the cluster with all its state."""
        self.driver.kill()
        if self.cluster is not None:
            for node in [*self.nodes, self.cluster.head_node]:
                with contextlib.suppress(Exception):
                    node.kill_all_processes(check_alive=False, allow_graceful=False)
        self.cluster, self.nodes = None, []

    def kill(self, kind: str, draw: random.Random) -> str:
        """Kill something and replace it as an operator or a cluster manager would; return what was killed."""
        if kind == "keeper" and not _ray_processes("ray::LeaseActor"):
            kind = "trial"  # a new cluster has no keeper before an artifact is needed
        match kind:
            case "trial" | "keeper":
                self._kill_process("ray::Worker" if kind == "trial" else "ray::LeaseActor", draw)
            case "node":
                assert self.cluster is not None
                victim = self.nodes.pop(draw.randrange(len(self.nodes)))
                self.cluster.remove_node(victim, allow_graceful=False)
                self.nodes.append(self.cluster.add_node(num_cpus=1))
            case "driver":
                self.driver.kill()
                self.driver.start()
            case "head":
                self.stop()
                self.start()
        return kind

    def _kill_process(self, title: str, draw: random.Random) -> None:
        """Kill one process of a kind, as soon as there is one."""
        self.driver.wait(lambda: any(_killed(draw.choice(found)) for found in [_ray_processes(title)] if found))

    @property
    def progress(self) -> int:
        """Number of evaluations in the journal."""
        return self.driver.count(PointEvaluated, InterpolationEvaluated)


@dataclass(frozen=True)
class Kill:
    """What to kill once the journal has so many events of a class."""

    event: type[PointEvaluated] | type[InterpolationEvaluated]
    count: int
    kind: str


def main() -> None:
    """Run both studies, print the kills as a table, and one JSON line."""
    options = _parse()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        place = options.keep or Path(folder)
        write_material(place)
        calm, calm_seconds, _ = _run_study(place / "calm", options, console, [])
        draw = random.Random(options.seed)
        points, interpolations = options.trials * POINTS_A_TRIAL, calm.count(InterpolationEvaluated)
        kills = draw_kills(options.kills, PointEvaluated, points, KINDS, draw)
        kills += draw_kills(
            options.interpolation_kills, InterpolationEvaluated, interpolations, INTERPOLATION_KINDS, draw
        )
        struck, struck_seconds, rows = _run_study(place / "struck", options, console, kills)
        found = _compare(calm, struck, options.trials)
        deaths = struck.count(WorkerDied)
    console.print(_table(rows))
    figures = {
        "benchmark": "chaos",
        "trials": options.trials,
        "kills": len(rows),
        "kinds": dict(Counter(row["kind"] for row in rows)),
        "deaths_recorded": deaths,
        "seconds_undisturbed": round(calm_seconds),
        "seconds_disturbed": round(struck_seconds),
        "median_seconds_to_go_on": round(float(np.median([row["seconds"] for row in rows])), 1) if rows else None,
    }
    print(json.dumps(figures | found))
    sys.exit(not (found["lost"] == found["duplicated"] == 0 and found["same_front"] and found["same_interpolations"]))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, metavar="N")
    parser.add_argument("--interpolation-kills", type=int, default=4, metavar="N")
    parser.add_argument("--trials", type=int, default=16, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is killed when")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep both studies in this folder")
    return parser.parse_args()


def draw_kills(kills: int, event: Any, most: int, kinds: Sequence[str], draw: random.Random) -> list[Kill]:
    """Draw moments, none at the last two events, and kinds in equal shares."""
    moments = sorted(draw.randrange(max(1, most - 2)) for _ in range(kills))
    shares = [kinds[index % len(kinds)] for index in range(kills)]
    draw.shuffle(shares)
    return [Kill(event, moment, kind) for moment, kind in zip(moments, shares, strict=True)]


def _run_study(
    home: Path, options: argparse.Namespace, console: Console, kills: Sequence[Kill]
) -> tuple[Driver, float, list[dict[str, Any]]]:
    """Run a study to its end; return it, its seconds, and a row for each kill."""
    driver = Driver(home / "study", home.parent, ["--trials", str(options.trials)])
    draw = random.Random(options.seed)
    machine = Machine(driver)
    with _started(machine):
        began = time.monotonic()
        rows = [_strike(machine, kill, draw, console) for kill in kills]
        driver.wait(driver.has_ended)
        return driver, time.monotonic() - began, rows


@contextlib.contextmanager
def _started(machine: Machine) -> Iterator[None]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    machine.start()
    try:
        yield
    finally:
        machine.stop()


def _strike(machine: Machine, kill: Kill, draw: random.Random, console: Console) -> dict[str, Any]:
    """Kill something at its moment, for points up to three seconds later; wait for the study's next evaluation."""
    driver = machine.driver
    driver.wait(lambda: driver.count(kill.event) >= kill.count)
    if kill.event is PointEvaluated:
        time.sleep(draw.uniform(0, 3))
    before, points, interpolations = machine.progress, driver.points, driver.count(InterpolationEvaluated)
    began = time.monotonic()
    kind = machine.kill(kill.kind, draw)
    console.print(f"at {points} points and {interpolations} interpolations: killed {kind}", highlight=False)
    driver.wait(lambda: machine.progress > before or driver.has_ended())
    return {"kind": kind, "points": points, "interpolations": interpolations, "seconds": time.monotonic() - began}


def _ray_processes(title: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(title):
                found.append(process)
    return found


def _killed(process: psutil.Process) -> bool:
    """Kill a process; return False if it had ended before."""
    try:
        process.kill()
        process.wait(10)
    except psutil.NoSuchProcess:
        return False
    return True


def _compare(calm: Driver, struck: Driver, trials: int) -> dict[str, Any]:
    made, expected = _interpolations(struck), _interpolations(calm)
    both = made.keys() & expected.keys()
    front = _front(calm)
    return {
        "lost": trials - len(_complete_everywhere(struck)),
        "duplicated": _duplicates(struck),
        "same_front": _front(struck) == front and len(front) > 0,
        "interpolations_in_both": len(both),
        "same_interpolations": all(made[name] == expected[name] for name in both),
    }


def _complete_everywhere(driver: Driver) -> set[int]:
    output = driver.output
    ends = [event for event in driver.events() if isinstance(event, TrialEnded)]
    journal = {end.trial for end in ends if end.state == "COMPLETE"}
    study = optuna.load_study(study_name=output.name, storage=f"sqlite:///{output / 'optuna.db'}")
    sampler = {trial.number for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE}
    return journal & sampler & {trial for trial, state in _logged(output) if state == "COMPLETE"}


def _duplicates(driver: Driver) -> int:
    counts = Counter(key for event in driver.events() if (key := _subject(event)) is not None)
    counts.update(("run", trial) for trial, _ in _logged(driver.output))
    return sum(count - 1 for count in counts.values())


def _subject(event: Event) -> tuple[Any, ...] | None:
    """Return what an event may be recorded of only once; None for other events."""
    match event:
        case TrialEnded():
            return ("end", event.trial)
        case PointEvaluated() | InterpolationEvaluated():
            return ("point", event.point)
        case ArtifactEnded():
            return ("artifact", event.key)
        case PairEnded():
            return ("pair", event.first, event.second)
    return None


def _logged(output: Path) -> list[tuple[int, str]]:
    """Return trial and state of each of the study's runs in MLflow."""
    client = MlflowClient(f"sqlite:///{output.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(output.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    return [(int(run.data.tags["trial"]), run.data.tags["state"]) for run in runs if "trial" in run.data.tags]


def _front(driver: Driver) -> list[tuple[float, ...]]:
    objectives = read_metadata(driver.output).objectives
    points = [event for event in driver.events() if isinstance(event, PointEvaluated)]
    values = np.array([[point.metrics[each.metric] for each in objectives] for point in points])
    return sorted(map(tuple, values[non_dominated(values, [each.direction for each in objectives])].tolist()))


def _interpolations(driver: Driver) -> dict[Any, Any]:
    return {event.point: event.metrics for event in driver.events() if isinstance(event, InterpolationEvaluated)}


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    columns = ("kill", "what", "points by then", "interpolations", "seconds to the next")
    table = Table(*columns, title="kills", title_justify="left")
    for number, row in enumerate(rows, start=1):
        table.add_row(str(number), row["kind"], str(row["points"]), str(row["interpolations"]), f"{row['seconds']:.1f}")
    return table


if __name__ == "__main__":
    main()
