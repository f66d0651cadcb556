"""A study of tiny trials in a process of its own, for benchmarks that kill something while it runs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from study.record.events import Event, PointEvaluated
from study.record.journal import read_entries

ROOT = Path(__file__).resolve().parents[1]
POINTS_A_TRIAL = 10

# The values depend on the trial's number alone, so that two studies draw the same trials whatever is killed.
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


def write_material(folder: Path) -> None:
    """Write the search space and images of a study of tiny trials: `space.py`, `train/`, `val/`."""
    noise = np.random.default_rng(0)
    for name, count, side in (("train", 4, 72), ("val", 2, 60)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            waves = np.sin(np.linspace(0, 20 + 9 * index, side))
            image = 128 + 60 * waves[:, None, None] * waves[None, :, None] + noise.normal(0, 9, (side, side, 3))
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    (folder / "space.py").write_text(SPACE)


@dataclass
class Driver:
    """The process of `study/sweep.py`, which writes the study in `output`.

    Attributes:
        output: the run directory; its parent gets `driver.log`.
        material: folder of `write_material`.
        options: further options of study/sweep.py.
        environment: added to this process's.
    """

    output: Path
    material: Path
    options: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start or resume the study."""
        command = [sys.executable, str(ROOT / "study" / "sweep.py"), "--space", str(self.material / "space.py")]
        command += ["--data", str(self.material / "train"), "--val", str(self.material / "val")]
        command += ["--output", str(self.output), "--interpolate", "1", "--resume", *self.options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | self.environment
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with open(self.output.parent / "driver.log", "ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def has_ended(self) -> bool:
        """Return whether the study has ended.

        Raises:
            RuntimeError: it ended with an error; the message has the end of its log.
        """
        assert self.process is not None
        code = self.process.poll()
        if code:
            log = (self.output.parent / "driver.log").read_text()[-3000:]
            raise RuntimeError(f"study/sweep.py ended with exit code {code}:\n{log}")
        return code is not None

    def wait(self, condition: Callable[[], bool], seconds: float = 600) -> None:
        """Wait until something is true.

        Raises:
            RuntimeError: it is not true after so many seconds, or the driver failed.
        """
        limit = time.monotonic() + seconds
        while not condition():
            self.has_ended()
            if time.monotonic() > limit:
                raise RuntimeError(
                    f"the study made no progress in {seconds:.0f} s; see {self.output.parent}/driver.log"
                )
            time.sleep(0.1)

    def events(self) -> list[Event]:
        """Return the journal's events, the oldest first."""
        return [entry.event for entry, _ in read_entries(self.output / "journal.jsonl")]

    def count(self, *kinds: type) -> int:
        """Return how many events of some classes the journal has."""
        return sum(isinstance(event, kinds) for event in self.events())

    @property
    def points(self) -> int:
        """Number of evaluated points of trials."""
        return self.count(PointEvaluated)
