"""How does a step's cost grow with patch, batch, width and depth? Measured, against predictions from operations.

python -m benchmarks.scaling                              (on a CPU: four minutes; one thread, as in a packed trial)
python -m benchmarks.scaling --size full --steps 20       (on a GPU)

One quantity is varied at a time around a base run: on a CPU, AESOP at `tiny` with an RRDB generator and auto-encoder of
32 features x 4 blocks, patch 64, batch 4, without the perceptual term, which is constant and would hide the rest; at
`full`, the recipe with patch 128 and batch 16. Operations are those of convolutions and matrix products, forward and
backward (`benchmarks/operations.py`). All runs take turns; times are medians.

Seconds of an operator call and the rate are fitted to the varied runs. They then predict runs outside the fit: several
quantities changed at once, and other recipes.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# oneDNN caches 1,024 compiled convolutions, perhaps too few for runs in turns. Set before the first convolution.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "100000")

import torch

from benchmarks.cost_model import Machine, exponent, fit_machine
from benchmarks.operations import Operations, count_step, counting_context
from benchmarks.training_steps import StepCost, in_turns, noise_context, prepare_step
from study.config import RunConfig, replace
from study.config.recipes import get_recipe
from study.training.loop import pick_device

Changes = dict[str, Any]

# Changes of the recipe for the base run; at `full` only patch and batch, so that all runs fit one GPU at once.
_BODY = {"features": 32, "blocks": 4, "growth": 16}
BASES: dict[str, Changes] = {
    "tiny": {
        "generator": {"name": "rrdb", "bilinear_skip": True, **_BODY},
        "autoencoder": {"decoder": "rrdb", **_BODY},
        "discriminator.features": 16,
        "loss.perceptual": 0.0,
        "budget": {"patch": 64, "batch": 4},
        "fidelity.budget.patch": 64,
    },
    "full": {"budget": {"patch": 128, "batch": 16}},
}
AXES: dict[str, dict[str, list[int]]] = {
    "tiny": {
        "patch": [32, 64, 96, 128],
        "batch": [1, 2, 4, 8, 16],
        "generator width": [8, 16, 32, 64],
        "generator depth": [1, 2, 4, 8, 16],
        "auto-encoder depth": [1, 2, 4, 8, 16],
        "discriminator width": [4, 8, 16, 32, 64],
    },
    "full": {
        "patch": [64, 128, 192, 256],
        "batch": [4, 8, 16, 32],
        "generator width": [16, 32, 64, 128],
        "generator depth": [3, 6, 12, 23],
        "auto-encoder depth": [3, 6, 12, 23],
        "discriminator width": [16, 32, 64, 128],
    },
}
# Runs outside the fit: by name, the recipe and the changes of the base.
OTHERS: dict[str, dict[str, tuple[str, Changes]]] = {
    "tiny": {
        "esrgan": ("esrgan", {}),
        "ldl": ("ldl", {}),
        "ldl, patch 96, 48 x 8": (
            "ldl",
            {"budget.patch": 96, "generator": {"features": 48, "growth": 24, "blocks": 8}},
        ),
        "patch 96, batch 2, 48 x 2": (
            "aesop",
            {"budget": {"patch": 96, "batch": 2}, "generator": {"features": 48, "growth": 24, "blocks": 2}},
        ),
        "patch 128, batch 2, auto-encoder x 2, D 32": (
            "aesop",
            {"budget": {"patch": 128, "batch": 2}, "autoencoder.blocks": 2, "discriminator.features": 32},
        ),
        "batch 8, 16 x 8, auto-encoder x 8": (
            "aesop",
            {
                "budget.batch": 8,
                "generator": {"features": 16, "growth": 8, "blocks": 8},
                "autoencoder.blocks": 8,
            },
        ),
        "64 x 6, auto-encoder 64 x 6, D 64 (small)": (
            "aesop",
            {
                "generator": {"features": 64, "growth": 32, "blocks": 6},
                "autoencoder": {"features": 64, "growth": 32, "blocks": 6},
                "discriminator.features": 64,
            },
        ),
    },
    "full": {
        "esrgan": ("esrgan", {}),
        "ldl": ("ldl", {}),
        "patch 256, batch 4": ("aesop", {"budget": {"patch": 256, "batch": 4}}),
        "patch 192, batch 8, auto-encoder x 6": (
            "aesop",
            {"budget": {"patch": 192, "batch": 8}, "autoencoder.blocks": 6},
        ),
        "batch 32, 32 x 12": (
            "aesop",
            {"budget.batch": 32, "generator": {"features": 32, "growth": 16, "blocks": 12}},
        ),
    },
}


HEADINGS = f"{'GFLOP':>9} {'calls':>7} {'ms':>9} {'predicted':>9} {'off':>6} {'GFLOP/s':>8} {'GiB':>6}"


@dataclass(frozen=True)
class Run:
    """One configuration: counted operations and measured cost of a step."""

    counted: Operations
    taken: StepCost

    @property
    def operations(self) -> int:
        """Floating-point operations of a step."""
        return self.counted.total

    @property
    def gflops(self) -> float:
        """Achieved rate, GFLOP/s."""
        return self.operations / self.taken.seconds / 1e9


def main() -> None:
    """Measure all runs, print a table for each axis, the fit, the check and one JSON line."""
    options = _parse()
    torch.set_num_threads(options.threads)
    device = pick_device()
    runs = _measure(_configs(options.size), options.steps, device)
    axes = {axis: [_named(axis, value) for value in values] for axis, values in AXES[options.size].items()}
    fitted = sorted({name for names in axes.values() for name in names})
    machine = fit_machine([(runs[name].counted, runs[name].taken.seconds) for name in fitted])
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"base {options.size}, {where}, torch {torch.__version__}, medians of {options.steps} steps")
    exponents = {
        axis: _print_axis(axis, AXES[options.size][axis], [runs[name] for name in names], machine)
        for axis, names in axes.items()
    }
    print(
        f"\nfitted to {len(fitted)} runs: {1e6 * machine.call_seconds:.2f} us an operator called, and "
        f"{machine.rate / 1e9:.0f} GFLOP/s beyond it"
    )
    errors = {name: machine.seconds(runs[name].counted) / runs[name].taken.seconds - 1 for name in runs}
    _print_check(OTHERS[options.size], runs, machine)
    summary = {
        "benchmark": "scaling",
        "size": options.size,
        "device": where,
        "call_us": round(1e6 * machine.call_seconds, 3),
        "gflops": round(machine.rate / 1e9, 1),
        "error_fitted": _error_sizes(errors, fitted),
        "error_others": _error_sizes(errors, OTHERS[options.size]),
        "exponents": exponents,
        "runs": {
            name: {
                "gflop": round(run.operations / 1e9, 3),
                "calls": run.counted.calls,
                "ms": round(1e3 * run.taken.seconds, 2),
                "gib": round(run.taken.gib, 3),
            }
            for name, run in runs.items()
        },
    }
    print(json.dumps(summary))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=list(BASES), default="tiny")
    parser.add_argument("--steps", type=int, default=9, metavar="N", help="timed steps of each run")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of a CPU (default: 1)")
    return parser.parse_args()


def _named(axis: str, value: int) -> str:
    return f"{axis} {value}"


def _configs(size: str) -> dict[str, RunConfig]:
    """Return all runs by name; each axis contains the base."""
    base = replace(get_recipe("aesop", size), BASES[size])
    configs = {
        _named(axis, value): replace(base, _changes(axis, value))
        for axis, values in AXES[size].items()
        for value in values
    }
    for name, (recipe, changes) in OTHERS[size].items():
        configs[name] = replace(replace(get_recipe(recipe, size), BASES[size]), changes)
    return configs


def _changes(axis: str, value: int) -> Changes:
    match axis:
        case "patch" | "batch":
            return {f"budget.{axis}": value}
        case "generator width":
            return {"generator": {"features": value, "growth": value // 2}}
        case "generator depth":
            return {"generator.blocks": value}
        case "auto-encoder depth":
            return {"autoencoder.blocks": value}
    return {"discriminator.features": value}


def _measure(configs: Mapping[str, RunConfig], steps: int, device: torch.device) -> dict[str, Run]:
    with tempfile.TemporaryDirectory() as folder:
        context, trained = noise_context(Path(folder), device), {}
        for name, config in configs.items():
            print(f"building {name}", file=sys.stderr, flush=True)
            _, trained[name] = prepare_step(config, context)
        taken = in_turns(trained, steps, device)
    with tempfile.TemporaryDirectory() as folder:
        counting = counting_context(Path(folder))
        counted = {name: count_step(config, "adversarial", counting) for name, config in configs.items()}
    return {name: Run(counted[name], taken[name]) for name in configs}


def _print_axis(axis: str, values: list[int], runs: list[Run], machine: Machine) -> dict[str, float]:
    print(f"\n{axis:20} {HEADINGS}")
    for value, run in zip(values, runs, strict=True):
        print(f"{value:<20} {_figures(run, machine)}")
    found = {
        "operations": exponent(values, [run.operations for run in runs]),
        "time": exponent(values, [run.taken.seconds for run in runs]),
        "memory": exponent(values, [run.taken.gib for run in runs]) if _memory_known(runs) else math.nan,
    }
    print("grows with the power " + ", ".join(f"{power:.2f} ({what})" for what, power in found.items()))
    return {what: round(power, 3) for what, power in found.items() if math.isfinite(power)}


def _memory_known(runs: list[Run]) -> bool:
    return all(run.taken.gib > 0 for run in runs)


def _print_check(others: Mapping[str, Any], runs: Mapping[str, Run], machine: Machine) -> None:
    print(f"\n{'outside the fit':45} {HEADINGS}")
    for name in others:
        print(f"{name:45} {_figures(runs[name], machine)}")


def _figures(run: Run, machine: Machine) -> str:
    predicted, seconds = machine.seconds(run.counted), run.taken.seconds
    return (
        f"{run.operations / 1e9:9.2f} {run.counted.calls:7} {1e3 * seconds:9.1f} {1e3 * predicted:9.1f} "
        f"{predicted / seconds - 1:+6.0%} {run.gflops:8.0f} {run.taken.gib:6.2f}"
    )


def _error_sizes(errors: Mapping[str, float], names: Any) -> dict[str, float]:
    sizes = [abs(errors[name]) for name in names]
    return {"median": round(statistics.median(sizes), 3), "largest": round(max(sizes), 3)}


if __name__ == "__main__":
    main()
