"""A study of tiny trials of which something is killed, again and again: is anything lost, done twice, or changed?

python benchmarks/chaos.py                       (24 kills over 16 trials; about a quarter of an hour on 2 cores)
python benchmarks/chaos.py --kills 5 --interpolation-kills 1 --trials 4

One machine plays a cluster: a head, and nodes with one core each. The study runs once undisturbed and once with kills,
each at a moment drawn at random: how many of the study's points are there by then, and up to three seconds more. What
is killed with SIGKILL: the process of a trial or artifact; a whole node, which another one replaces; the actor that
keeps the leases; the driver, which is started again with `--resume`; and the head, with the driver on it and all that
the cluster knew, after which a new cluster is started. More kills of workers and of the driver follow while points are
interpolated, drawn in the same way from the number of interpolations.

A trial is lost if it did not end COMPLETE in the journal, in Optuna and in MLflow; it is done twice if anything of it
(its end, a point, its run in MLflow), an artifact or an interpolation is recorded more than once. The front of the points has to
be the same to the last bit, and so has what both studies have interpolated: what else they interpolate depends on when trials end.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Started as a script: Python looks in benchmarks/, but the packages are one up.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import optuna
import psutil
from mlflow import MlflowClient
from PIL import Image
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from study.search.front import non_dominated

ROOT = Path(__file__).resolve().parents[1]
POINTS_A_TRIAL = 10
NODES = 2
BLEND_KINDS = ("trial", "driver")
KINDS = ("trial", "trial", "trial", "node", "driver", "keeper", "node", "trial", "driver", "head")
"""What is killed, in equal shares, in an order drawn at random."""

# The values depend on the trial's number alone, not on when others ended: both studies draw the same trials.
SPACE = """
from study.config import replace
from study.config.recipes import aesop

SIZE, TRIALS = "tiny", 16
REFERENCE = {"psnr_y": 0.0, "lpips_alex": 2.0, "swd": 2000.0}
GROUPS = ("loss.guidance",)
SMALL = {"features": 4, "blocks": 1}

def base(size, networks):
    budget = {"iterations": 150, "batch": 2, "patch": 32}
    return replace(aesop(size), {
        "generator": SMALL, "discriminator.features": 2, "loss.perceptual": 0,
        "fidelity.budget": budget, "autoencoder": {**SMALL, "growth": 2, "budget": budget},
        "budget": {**budget, "iterations": 200},
        "eval_schedule": {"evaluate_every": 20, "evaluate_share": 100, "checkpoint_every": 10},
    })

def sample(trial, base):
    trial.suggest_float("loss.adversarial", 1e-4, 1e-2, log=True)
    return {"loss.guidance": ("pixel", "aesop")[trial.number % 2], "seed": trial.number,
            "autoencoder.bottleneck_channels": (3, 6)[trial.number // 2 % 2],
            "loss.adversarial": 10 ** (-4 + 2 * (trial.number % 5) / 4)}
"""


@dataclass
class Machine:
    """A cluster on this machine, the driver on it, and the study that both work on."""

    output: Path
    command: list[str]
    driver: "subprocess.Popen[bytes] | None" = None
    cluster: Cluster | None = None
    nodes: list[Any] = field(default_factory=list)

    def start_cluster(self) -> None:
        """Start a head without cores, and nodes with one each."""
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(NODES)]

    def start_driver(self) -> None:
        """Start, or continue, the study."""
        assert self.cluster is not None
        environment = os.environ | {"RAY_ADDRESS": self.cluster.address, "OMP_NUM_THREADS": "1"}
        with open(self.output.parent / "driver.log", "ab") as log:
            self.driver = subprocess.Popen(self.command, env=environment, stdout=log, stderr=log)

    def stop_cluster(self) -> None:
        """Take the cluster away, with all that it knew."""
        if self.cluster is not None:
            for node in [*self.nodes, self.cluster.head_node]:
                with contextlib.suppress(Exception):
                    node.kill_all_processes(check_alive=False, allow_graceful=False)
        self.cluster, self.nodes = None, []

    def kill(self, kind: str, draw: random.Random) -> str:
        """Kill something, and put what people or their cluster would put in its place; returns what it was."""
        if kind == "keeper" and not _ray_processes("ray::Keeper"):
            kind = "trial"  # a new cluster has no keeper before an artifact is needed
        match kind:
            case "trial" | "keeper":
                self._kill_process("ray::Worker" if kind == "trial" else "ray::Keeper", draw)
            case "node":
                assert self.cluster is not None
                victim = self.nodes.pop(draw.randrange(len(self.nodes)))
                self.cluster.remove_node(victim, allow_graceful=False)
                self.nodes.append(self.cluster.add_node(num_cpus=1))
            case "driver":
                self._kill_driver()
                self.start_driver()
            case "head":
                self._kill_driver()
                self.stop_cluster()
                self.start_cluster()
                self.start_driver()
        return kind

    def _kill_process(self, title: str, draw: random.Random) -> None:
        """Kill one of a kind; where there is none at this moment, as soon as there is."""
        _wait(self, lambda: any(_killed(draw.choice(found)) for found in [_ray_processes(title)] if found))

    def _kill_driver(self) -> None:
        assert self.driver is not None
        self.driver.kill()
        self.driver.wait()

    @property
    def progress(self) -> int:
        """How much was evaluated."""
        return len(self.events("point")) + len(self.events("interpolation"))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The journal's events of a kind."""
        path = self.output / "journal.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in found if event["event"] == kind]


def main() -> None:
    """Run both studies, print the kills as a table, and one JSON line."""
    options = _parse()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        place = options.keep or Path(folder)
        make_material(place)
        calm, calm_seconds, _ = _study(place / "calm", options, console, [])
        draw = random.Random(options.seed)
        strikes = _drawn(options.kills, "point", options.trials * POINTS_A_TRIAL, KINDS, draw)
        strikes += _drawn(
            options.interpolation_kills, "interpolation", len(calm.events("interpolation")), BLEND_KINDS, draw
        )
        struck, struck_seconds, rows = _study(place / "struck", options, console, strikes)
        both = _blends(struck).keys() & _blends(calm).keys()
        found = {
            "lost": options.trials - len(_complete_everywhere(struck)),
            "duplicated": _recorded_twice(struck),
            "same_front": _front(struck) == _front(calm) and len(_front(calm)) > 0,
            "interpolations_in_both": len(both),
            "same_interpolations": all(_blends(struck)[name] == _blends(calm)[name] for name in both),
        }
        deaths = len(struck.events("death"))
    _print(rows, console)
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
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave both studies here")
    return parser.parse_args()


def make_material(place: Path) -> None:
    """Write a search space of tiny trials, and images for them: `space.py`, `train/`, `test/`."""
    noise = np.random.default_rng(0)
    for name, count, side in (("train", 4, 72), ("test", 2, 60)):
        (place / name).mkdir(parents=True)
        for index in range(count):
            waves = np.sin(np.linspace(0, 20 + 9 * index, side))
            image = 128 + 60 * waves[:, None, None] * waves[None, :, None] + noise.normal(0, 9, (side, side, 3))
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(place / name / f"{index}.png")
    (place / "space.py").write_text(SPACE)


def _study(
    home: Path, options: argparse.Namespace, console: Console, strikes: list["_Strike"]
) -> tuple[Machine, float, list[dict[str, Any]]]:
    """Run a study to its end; returns it, the seconds that it took, and what was killed."""
    home.mkdir()
    material = home.parent
    command = [sys.executable, str(ROOT / "study" / "sweep.py"), "--space", str(material / "space.py"), "--resume"]
    command += ["--data", str(material / "train"), "--val", str(material / "test")]
    command += ["--trials", str(options.trials), "--output", str(home / "study"), "--interpolate", "1"]
    machine = Machine(home / "study", command)
    draw = random.Random(options.seed)
    rows: list[dict[str, Any]] = []
    with _started(machine):
        began = time.monotonic()
        for strike in strikes:
            rows.append(_strike(machine, strike, draw, console))
        _wait(machine, lambda: machine.driver is not None and machine.driver.poll() is not None)
        seconds = time.monotonic() - began
    assert machine.driver is not None
    if machine.driver.returncode != 0:
        raise RuntimeError(f"the study ended with {machine.driver.returncode}:\n{_log_of(machine)}")
    return machine, seconds, rows


@contextlib.contextmanager
def _started(machine: Machine) -> Iterator[None]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    machine.start_cluster()
    machine.start_driver()
    try:
        yield
    finally:
        if machine.driver is not None:
            machine.driver.kill()
        machine.stop_cluster()


@dataclass(frozen=True)
class _Strike:
    """What is to be killed once the journal has so many events of a kind."""

    event: str
    count: int
    kind: str


def _drawn(kills: int, event: str, most: int, kinds: Sequence[str], draw: random.Random) -> list[_Strike]:
    """Moments at random, but for the last two events, and kinds in equal shares."""
    moments = sorted(draw.randrange(max(1, most - 2)) for _ in range(kills))
    shares = [kinds[index % len(kinds)] for index in range(kills)]
    draw.shuffle(shares)
    return [_Strike(event, moment, kind) for moment, kind in zip(moments, shares, strict=True)]


def _strike(machine: Machine, strike: _Strike, draw: random.Random, console: Console) -> dict[str, Any]:
    """Kill something at its moment, of points up to three seconds later; wait until the study goes on."""
    _wait(machine, lambda: len(machine.events(strike.event)) >= strike.count)
    if strike.event == "point":
        time.sleep(draw.uniform(0, 3))
    before, points, interpolations = (
        machine.progress,
        len(machine.events("point")),
        len(machine.events("interpolation")),
    )
    began = time.monotonic()
    kind = machine.kill(strike.kind, draw)
    console.print(f"at {points} points and {interpolations} interpolations: killed {kind}", highlight=False)
    _wait(machine, lambda: machine.progress > before or machine.driver.poll() is not None)  # type: ignore[union-attr]
    return {"kind": kind, "points": points, "interpolations": interpolations, "seconds": time.monotonic() - began}


def _wait(machine: Machine, condition: Callable[[], bool], seconds: float = 600) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert machine.driver is not None
        if machine.driver.poll() not in (None, 0) or time.monotonic() > limit:
            raise RuntimeError(f"the study does not go on:\n{_log_of(machine)}")
        time.sleep(0.1)


def _log_of(machine: Machine) -> str:
    return (machine.output.parent / "driver.log").read_text()[-3000:]


def _ray_processes(title: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(title):
                found.append(process)
    return found


def _killed(process: psutil.Process) -> bool:
    """Kill a process; False if it was gone already."""
    try:
        process.kill()
        process.wait(10)
    except psutil.NoSuchProcess:
        return False
    return True


def _complete_everywhere(machine: Machine) -> set[int]:
    output = machine.output
    ended = {event["trial"] for event in machine.events("end") if event["state"] == "COMPLETE"}
    study = optuna.load_study(study_name=output.name, storage=f"sqlite:///{output / 'optuna.db'}")
    told = {trial.number for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE}
    logged = {trial for trial, state in _logged(output) if state == "COMPLETE"}
    return ended & told & logged


def _recorded_twice(machine: Machine) -> int:
    keys = [("end", event["trial"]) for event in machine.events("end")]
    keys += [("point", (event["trial"], event["iteration"])) for event in machine.events("point")]
    keys += [("artifact", event["key"]) for event in machine.events("artifact")]
    keys += [("interpolation", (event["pair"], event["name"])) for event in machine.events("interpolation")]
    keys += [("pair", event["name"]) for event in machine.events("pair")]
    keys += [("run", trial) for trial, _ in _logged(machine.output)]
    return sum(count - 1 for count in Counter(keys).values())


def _logged(output: Path) -> list[tuple[int, str]]:
    client = MlflowClient(f"sqlite:///{output.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(output.name)
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    return [(int(run.data.tags["trial"]), run.data.tags["state"]) for run in runs if "trial" in run.data.tags]


def _front(machine: Machine) -> list[tuple[float, ...]]:
    facts = json.loads((machine.output / "study.json").read_text())
    names = [objective["metric"] for objective in facts["objectives"]]
    directions = [objective["direction"] for objective in facts["objectives"]]
    values = np.array([[event["metrics"][name] for name in names] for event in machine.events("point")])
    return sorted(map(tuple, values[non_dominated(values, directions)].tolist()))


def _blends(machine: Machine) -> dict[tuple[str, str], dict[str, float]]:
    return {(event["pair"], event["name"]): event["metrics"] for event in machine.events("interpolation")}


def _print(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(
        "kill", "what", "points by then", "interpolations", "seconds to the next", title="kills", title_justify="left"
    )
    for number, row in enumerate(rows, start=1):
        table.add_row(str(number), row["kind"], str(row["points"]), str(row["interpolations"]), f"{row['seconds']:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
