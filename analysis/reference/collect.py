"""Copy the part of the reference study that the repository keeps: tables without paths, figures, provenance.

    python -m analysis.reference.collect WORK

reads the output of study.sh in WORK and writes into this folder.
"""

import json
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from study.record.journal import read_entries
from study.record.metadata import read_metadata

HERE = Path(__file__).resolve().parent
TABLES = ("points", "images", "trials", "artifacts")
PACKAGES = ("torch", "ray", "optuna", "mlflow", "lpips", "moocore", "numpy", "pyarrow")
PATH_COLUMNS = ("config.data.train", "config.data.val")
SETS = ("all", "all-with-upstream", "BSDS500", "Set14", "Set5")


def main(work: Path) -> None:
    """Copy tables and figures of both studies, and write their provenance."""
    for name in ("search", "repeat"):
        target = HERE / name
        target.mkdir(exist_ok=True)
        for table in TABLES:
            kept = without_paths(pd.read_parquet(work / name / f"{table}.parquet"))
            kept.to_parquet(target / f"{table}.parquet", index=False, compression="zstd")
        shutil.copy(work / name / "figures" / "overview.png", target / "overview.png")
        shutil.copy(work / name / "comparison.csv", target / "comparison.csv")
    for name in SETS:
        shutil.copy(work / "by-set" / name / "comparison.csv", HERE / "repeat" / f"comparison-{name}.csv")
        shutil.copy(work / "by-set" / name / "figures" / "overview.png", HERE / "repeat" / f"overview-{name}.png")
    for name in ("evaluation.csv", "texture.png", "texture.csv"):
        shutil.copy(work / name, HERE / name)
    (HERE / "provenance.json").write_text(json.dumps(provenance(work), indent=2) + "\n")


def without_paths(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the columns that hold paths of images."""
    return table.drop(columns=[column for column in PATH_COLUMNS if column in table])


def provenance(work: Path) -> dict[str, object]:
    """Return versions, identities, and the cost of both studies."""
    studies = {}
    for name in ("search", "repeat"):
        study = read_metadata(work / name)
        trials = pd.read_parquet(work / name / "trials.parquet")
        artifacts = pd.read_parquet(work / name / "artifacts.parquet")
        times = [entry.time for entry, _ in read_entries(work / name / "journal.jsonl")]
        studies[name] = {
            "code": study.code_version,
            "identity": dict(study.identity),
            "reference": dict(study.goals.reference),
            "trials": trials["state"].value_counts().to_dict(),
            "device_seconds_of_trials": round(float(trials["device_seconds"].sum())),
            "device_seconds_of_artifacts_trained": round(float(artifacts["device_seconds"].sum())),
            "wall_clock_seconds": round(times[-1] - times[0]),
        }
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "processor": _processor(),
        "studies": studies,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
