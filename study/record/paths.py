"""The file names of a run directory and of an artifact's folder.

Events name files relative to the run directory, with `/`; `RunDirectory` resolves them. What a report exports is named
in `tables.py`, `analysis/page/exports.py` and `analysis/figures/saved.py`.
"""

from dataclasses import dataclass
from pathlib import Path

from study.record.points import FidelityPoint, InterpolatedPoint, PointId, TrialPoint, pair_name

STUDY, JOURNAL, CURSOR = "study.json", "journal.jsonl", "mlflow.json"
WEIGHTS = "weights.safetensors"
"""Of an artifact, and of a registered model."""
CONFIG = "config.json"
BUDGET = "budget.json"
"""What an artifact's training cost."""
HR, LQ = "hr", "lq"
"""References whose sample crops are those of the images themselves."""


def point_samples(point: TrialPoint | InterpolatedPoint) -> str:
    """Return the folder of a point's sample crops, relative to the run directory."""
    if isinstance(point, InterpolatedPoint):
        return f"interpolations/{point.pair}/{point.name}"
    return f"trials/{point.trial:04d}/points/{point.iteration:07d}"


def reference_samples(name: str) -> str:
    """Return the folder of a reference's sample crops (`hr`, `lq`: of the images), relative to the run directory."""
    return f"references/{name}"


@dataclass(frozen=True)
class TrialDirectory:
    """Files of one trial: its configuration, its points, and a checkpoint while it trains."""

    run_dir: Path
    trial: int

    @property
    def root(self) -> Path:
        """The directory itself."""
        return self.run_dir / "trials" / f"{self.trial:04d}"

    @property
    def config(self) -> Path:
        """The run and its key."""
        return self.root / CONFIG

    @property
    def checkpoint(self) -> Path:
        """State from which an interrupted trial resumes."""
        return self.root / "checkpoint.pt"

    @property
    def done(self) -> Path:
        """Marker that the trial has trained to its end."""
        return self.root / "done.json"

    @property
    def points(self) -> Path:
        """Folder of all points."""
        return self.root / "points"

    def samples(self, iteration: int) -> Path:
        """Folder of a point's sample crops."""
        return self.points / f"{iteration:07d}"

    def weights(self, iteration: int) -> Path:
        """EMA weights of a point, safetensors."""
        return self.points / f"{iteration:07d}.safetensors"

    def numbers(self, iteration: int) -> Path:
        """Event of a point, JSON; written last: a point is complete once this file exists."""
        return self.points / f"{iteration:07d}.json"

    def stored_iterations(self) -> list[int]:
        """Return the iterations of the points that are complete."""
        return sorted(int(path.stem) for path in self.points.glob("*.json") if path.stem.isdecimal())


@dataclass(frozen=True)
class RunDirectory:
    """Output directory of a study or a single run."""

    root: Path

    @property
    def study(self) -> Path:
        """Metadata (`record/metadata.py`)."""
        return self.root / STUDY

    @property
    def journal(self) -> Path:
        """Events (`record/journal.py`)."""
        return self.root / JOURNAL

    @property
    def cursor(self) -> Path:
        """Offset up to which the journal is in MLflow."""
        return self.root / CURSOR

    @property
    def optuna(self) -> Path:
        """Database of Optuna's study."""
        return self.root / "optuna.db"

    @property
    def lock(self) -> Path:
        """Lock of the driver."""
        return self.root / ".driver.lock"

    @property
    def tune(self) -> Path:
        """Ray Tune's temporary files."""
        return self.root / "tune"

    @property
    def groups(self) -> Path:
        """Ray Train's temporary files of jobs with several workers."""
        return self.tune / "groups"

    @property
    def stop(self) -> Path:
        """Folder of requests that a job stops."""
        return self.root / ".stop"

    @property
    def exported(self) -> Path:
        """Final generator of a single run, under BasicSR's names."""
        return self.root / "generator.pth"

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.root / "report.html"

    @property
    def recorded(self) -> tuple[Path, ...]:
        """Files and folders that a study or a run writes and reads again; not those of its report."""
        files = (self.study, self.journal, self.cursor, self.optuna, self.lock, self.space, self.exported)
        folders = ("trials", "references", "interpolations", "models", "custom_losses")
        return (*files, self.tune, self.stop, *(self.root / name for name in folders))

    def trial_numbers(self) -> list[int]:
        """Return the numbers of the trials that have a directory."""
        folders = (self.root / "trials").glob("[0-9][0-9][0-9][0-9]*")
        return sorted(int(folder.name) for folder in folders if folder.name.isdecimal())

    def trial(self, number: int) -> TrialDirectory:
        """The directory of a trial."""
        return TrialDirectory(self.root, number)

    def reference(self, name: str) -> Path:
        """Sample crops of a reference."""
        return self.root / reference_samples(name)

    def pair(self, first: TrialPoint | FidelityPoint, second: TrialPoint | FidelityPoint) -> Path:
        """Folder of all interpolations between two sets of weights."""
        return self.root / "interpolations" / pair_name(first, second)

    def weights(self, point: TrialPoint | InterpolatedPoint) -> Path:
        """Where a point's weights are; an interpolation of images has none, so the file does not exist."""
        if isinstance(point, InterpolatedPoint):
            return self.pair(point.first, point.second) / f"{point.name}.safetensors"
        return self.trial(point.trial).weights(point.iteration)

    def model(self, point: PointId) -> Path:
        """Folder of a registered model: weights, configuration and MLflow's description."""
        return self.root / "models" / (f"trial-{point.slug}" if isinstance(point, TrialPoint) else point.slug)

    @property
    def space(self) -> Path:
        """The text of the study's search space."""
        return self.root / "space.py"

    def custom_loss(self, sha256: str) -> Path:
        """The text of a custom loss of the study."""
        return self.root / "custom_losses" / f"{sha256.removeprefix('sha256:')[:16]}.py"
