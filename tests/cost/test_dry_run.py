"""Number of jobs that share a GPU, and the output of `--dry-run` (its numbers: tests/cost/test_forecast.py)."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from rich.console import Console

from study import sweep
from study.config import ConfigError
from study.cost.dry_run import guessed
from study.cost.packing import CONTEXT_BYTES, SAFE_SHARE, jobs_on_a_gpu, share_for
from study.search.plan import SearchPlan
from study.search.repetition import Repetition
from tests.cluster.small_studies import arguments_of

GIB = 2**30


@pytest.mark.parametrize(
    ("peak", "total", "jobs"), [(10, 80, 6), (17, 80, 4), (50, 80, 1), (78, 80, 1), (0.5, 141, 107)]
)
def test_jobs_on_a_gpu_leave_spare_memory(peak: float, total: int, jobs: int) -> None:
    found = jobs_on_a_gpu(int(peak * GIB), total * GIB)
    assert found == jobs
    assert found == 1 or found * (peak * GIB + CONTEXT_BYTES) <= SAFE_SHARE * total * GIB


@pytest.mark.parametrize("jobs", [1, 2, 3, 6, 7, 107])
def test_ray_accepts_the_share_and_fits_all_jobs(jobs: int) -> None:
    share = share_for(jobs)
    ray.remote(num_gpus=share)(lambda: None)  # ValueError beyond 0.0001
    assert jobs <= 1 / share < jobs + 1


def test_a_job_that_does_not_fit_one_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a job needs 80\.2 GiB, but the GPU has 80\.0 GiB; reduce"):
        jobs_on_a_gpu(int(79.5 * GIB), 80 * GIB)


def test_a_dry_run_prints_the_stages_and_creates_nothing(material: Path, tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, width=120)
    assert sweep.main(arguments_of(material, tmp_path / "out", "--dry-run"), console) == 0
    lines = {line.split()[1]: line.split() for line in text.getvalue().splitlines() if line.startswith("│ ")}
    # │ stage │ jobs │ finished │ steps │ hours │
    assert lines["fidelity"][3:8:2] == ["1", "0", "30"]
    assert lines["adversarial"][3:8:2] == ["5", "0", "200"]
    assert 1 <= int(lines["autoencoder"][3]) <= 2
    assert "all checks passed" in text.getvalue()
    assert "storage: " in text.getvalue()
    assert "random draws" in text.getvalue()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_guessed_of_runs_that_are_repeated() -> None:
    assert len(guessed(SearchPlan())) == 1
    assert guessed(SearchPlan(repeat=Repetition(Path("earlier")))) == []


def test_packing_needs_a_gpu(material: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--pack auto measures GPU memory, but there is no GPU here"):
        sweep.main(arguments_of(material, tmp_path / "out", "--pack", "auto"), Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_jobs_here_are_as_many_as_the_cores_that_the_process_may_use() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from study.cluster.dry_run import _slots_here; from study.cluster.study import Resources; "
    code += "print(_slots_here(Resources()))"
    limited = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert limited.stdout == "1\n"
