"""Imports go one way, and the training core runs without Ray, MLflow and Optuna (docs/architecture.md)."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINES = {"ray", "mlflow", "optuna"}
HEAVY = ENGINES | {"lpips", "pandas", "matplotlib", "spandrel"}

# What a package may import of the project's, beside itself. A name covers what is below it.
FOUNDATION = {"study.config", "study.files", "study.formatting"}
RECORD = FOUNDATION | {"study.record"}
CORE = RECORD | {"study.data", "study.models", "study.losses", "study.metrics"}
SEARCH = CORE | {"study", "study.training", "study.search"}
MAY_IMPORT = {
    "study.files": set(),
    "study.formatting": set(),
    "study.config": {"study.files"},
    "study.record": FOUNDATION,
    "study.data": FOUNDATION,
    "study.models": FOUNDATION | {"study.data.bicubic"},
    "study.losses": FOUNDATION | {"study.data", "study.models"},
    "study.metrics": FOUNDATION | {"study.data", "study.models"},
    "study.training": CORE,
    "study.evaluation": CORE,
    "study.search": SEARCH,
    "study.cost": SEARCH,
    "study.tracking": SEARCH,
    "study.cluster": SEARCH | {"study.cost", "study.tracking"},
    "study.cli": FOUNDATION | {"study.data.remote", "study.command_parser"},
    "study.command_parser": FOUNDATION,
    "study.command_config": FOUNDATION | {"study.data.remote"},
    "study.evaluate_options": {
        "study.files",
        "study.command_parser",
        "study.record",
        "study.evaluation",
        "study.metrics",
    },
    "study.sweep_options": {"study.cli", "study.command_parser", "study.record", "study.search"},
}
ENTRY_POINTS = {"study.sweep", "study.train", "study.evaluate", "study.prepare", "study.export"}
MAY_IMPORT_ANALYSIS = {"study.sweep"}  # it ends with a report
NOT_FOR_ANALYSIS = {"study.training", "study.cluster", "study.cost", "search_spaces", *ENTRY_POINTS}
FOR_PANDAS = "study.record.tables"  # of the core, but no worker loads it
MAY_IMPORT_ENGINES = {
    "study.cluster": {"ray"},
    "study.tracking": {"mlflow"},
    "study.search": {"optuna"},
    "study.cost": {"optuna"},
    "search_spaces": {"optuna"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def imports_of(path: Path) -> set[str]:
    """Dotted names a file imports anywhere, also inside functions and for type checking only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which way they go"
            assert node.module is not None
            # `from study import config` names a module, `from study import __version__` a thing in one.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if is_module(name) else node.module for name in names}
    return found


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def part_of(module: str) -> str:
    """Return the package that a module belongs to: `study.data`, `study.sweep`, `analysis`."""
    first, *rest = module.split(".")
    return f"{first}.{rest[0]}" if first == "study" and rest else first


def covered(name: str, allowed: set[str]) -> bool:
    return any(name == each or (each != "study" and name.startswith(f"{each}.")) for each in allowed)


def wrong_way(module: str, imported: set[str]) -> set[str]:
    """Return the imports of a module that go against the order."""
    part = part_of(module)
    ours = {name for name in imported if name.split(".")[0] in ("study", "analysis", "search_spaces", "benchmarks")}
    if part == "study":
        return ours
    if part in ENTRY_POINTS:
        others = {"search_spaces", "benchmarks"} | (set() if part in MAY_IMPORT_ANALYSIS else {"analysis"})
        return {name for name in ours if covered(name, others | ENTRY_POINTS - {part})}
    if part == "analysis":
        return {name for name in ours if covered(name, NOT_FOR_ANALYSIS | {"benchmarks"})}
    if part == "search_spaces":
        return {name for name in ours if not covered(name, FOUNDATION)}
    return {name for name in ours if not covered(name, MAY_IMPORT[part] | {part})}


def wrong_engines(module: str, imported: set[str]) -> set[str]:
    """Return the engines that a module imports but may not."""
    allowed = MAY_IMPORT_ENGINES.get(part_of(module), set())
    return ({name.split(".")[0] for name in imported} & ENGINES) - allowed


def test_imports_go_one_way() -> None:
    files = sources("study", "analysis", "search_spaces")
    assert len(files) > 40
    wrong = {module_name(path): wrong_way(module_name(path), imports_of(path)) for path in files}
    assert {module: names for module, names in wrong.items() if names} == {}


def test_engines_stay_in_their_places() -> None:
    files = sources("study", "analysis", "search_spaces")
    wrong = {module_name(path): wrong_engines(module_name(path), imports_of(path)) for path in files}
    assert {module: names for module, names in wrong.items() if names} == {}
    assert any("ray" in imports_of(path) for path in sources("study/cluster"))  # the walk does see them


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("study.data.batches", "from study.training.loop import train", {"study.training.loop"}),
        ("study.models.rrdb", "import study.losses", {"study.losses"}),
        ("study.models.rrdb", "from study.data.sources import ImageSet", {"study.data.sources"}),
        ("study.losses.pixel", "def f():\n    from study.metrics import swd", {"study.metrics.swd"}),
        ("study.search.trials", "from study.cluster.jobs import Job", {"study.cluster.jobs"}),
        ("analysis.report", "from study.training.loop import train", {"study.training.loop"}),
        ("study.cluster.driver", "from study.search.front import Direction", set()),
        ("study.training.loop", "from study.data import Batches", set()),
    ],
)
def test_the_order_is_really_checked(module: str, line: str, wrong: set[str], tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(line)
    assert wrong_way(module, imports_of(tmp_path / "file.py")) == wrong


def test_the_core_loads_no_engine_in_a_fresh_process() -> None:
    core = [module_name(path) for path in sources("study")]
    core = [name for name in core if covered(name, CORE | {"study.training"}) and name != FOR_PANDAS]
    assert {"study.training.loop", "study.losses.generator_loss", "study.metrics.evaluator"} <= set(core)
    script = f"""
import importlib, json, sys
def loaded():
    return sorted({HEAVY!r} & sys.modules.keys())
for name in {core!r}:
    importlib.import_module(name)
print(json.dumps(loaded()))
import study.search.trials
print(json.dumps(loaded()))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    after_core, after_search = map(json.loads, done.stdout.splitlines())
    assert after_core == []
    assert "optuna" in after_search  # a loaded engine does show
    assert not {"ray", "mlflow"} & set(after_search)


def test_the_analysis_loads_no_engine_before_it_fetches() -> None:
    names = [*(module_name(path) for path in sources("analysis")), "study.tracking.download"]
    assert "analysis.report" in names
    script = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names!r}]; print('mlflow' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"


def test_the_configuration_is_light() -> None:
    script = "import sys, study.config, study.config.recipes; print('torch' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_training_on_folders_needs_no_pyarrow() -> None:
    for modules, expected in (
        ("study.training.context_spec", "False"),
        ("study.training.context_spec, study.data.store", "True"),
    ):
        script = f"import sys, {modules}; print('pyarrow' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_the_lock_leaves_out_what_would_cost_every_process_of_ray_a_second() -> None:
    """Importing ray imports it where it is installed, and it builds a grammar first (pyproject.toml)."""
    (line,) = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.startswith("rfc3987-s")]
    assert "; sys_platform == 'never'" in line
