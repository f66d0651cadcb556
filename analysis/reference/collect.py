"""Keep of the reference study what belongs into the repository: tables without paths or images, figures, versions.

    python analysis/reference/collect.py WORK

reads what study.sh left in WORK and writes beside this file.
"""

import json
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
TABLES = ("points", "images", "trials", "artifacts")
PACKAGES = ("torch", "ray", "optuna", "mlflow", "lpips", "moocore", "numpy", "pyarrow")
PLACES = ("config.data.train", "config.data.val")
SETS = ("all", "all-with-upstream", "BSDS500", "Set14", "Set5")


def main(work: Path) -> None:
    """Copy tables, figures and facts of both studies."""
    for name in ("search", "repeat"):
        target = HERE / name
        target.mkdir(exist_ok=True)
        for table in TABLES:
            kept = without_places(pd.read_parquet(work / name / f"{table}.parquet"))
            kept.to_parquet(target / f"{table}.parquet", index=False, compression="zstd")
        shutil.copy(work / name / "figures" / "overview.png", target / "overview.png")
        shutil.copy(work / name / "comparison.csv", target / "comparison.csv")
    for name in SETS:
        shutil.copy(work / "by-set" / name / "comparison.csv", HERE / "repeat" / f"comparison-{name}.csv")
        shutil.copy(work / "by-set" / name / "figures" / "overview.png", HERE / "repeat" / f"overview-{name}.png")
    for name in ("kept.csv", "texture.png", "texture.csv"):
        shutil.copy(work / name, HERE / name)
    (HERE / "facts.json").write_text(json.dumps(facts(work), indent=2) + "\n")


def without_places(table: pd.DataFrame) -> pd.DataFrame:
    """A table without what says where somebody's images are."""
    return table.drop(columns=[column for column in PLACES if column in table])


def facts(work: Path) -> dict[str, object]:
    """By what the study was made, and what it took."""
    studies = {}
    for name in ("search", "repeat"):
        study = json.loads((work / name / "study.json").read_text())
        trials = pd.read_parquet(work / name / "trials.parquet")
        artifacts = pd.read_parquet(work / name / "artifacts.parquet")
        events = [json.loads(line) for line in (work / name / "journal.jsonl").read_text().splitlines()]
        studies[name] = {
            "code": study["code_version"],
            "identity": study["identity"],
            "reference": study["reference"],
            "trials": trials["state"].value_counts().to_dict(),
            "device_seconds_of_trials": round(float(trials["device_seconds"].sum())),
            "device_seconds_of_artifacts_trained": round(float(artifacts["device_seconds"].sum())),
            "wall_clock_seconds": round(events[-1]["time"] - events[0]["time"]),
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
