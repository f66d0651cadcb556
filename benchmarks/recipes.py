"""What does a training step of each recipe cost, in time and memory? Against ESRGAN's step.

python -m benchmarks.recipes --size tiny                    (on a CPU: minutes)
python -m benchmarks.recipes --size full --steps 20         (on a GPU)

Each recipe's adversarial step runs as in a study, but on random patches, from random weights in place of upstream
artifacts, and with a perceptual network of random weights where the published ones are not found. Recipes take turns,
so that changes of the machine's speed affect all of them; figures are medians. A step at `full` has the batch of the
recipe's paper; `--batch N` gives every recipe as many patches. Also printed: the time for a megapixel of HR patches,
and a step's memory beyond networks and optimisers.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.training_steps import in_turns, noise_context, prepare_step
from study.config import RunConfig, replace
from study.config.recipes import RECIPES, get_recipe
from study.training.loop import pick_device
from study.training.state import TrainState

REFERENCE = "esrgan"


def main() -> None:
    """Measure every recipe and print a table and one JSON line."""
    options = _parse()
    device = pick_device()
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        context, steps = noise_context(Path(folder), device, options.weights), {}
        for name in options.recipes:
            config = _config(name, options)
            print(f"building {name}", file=sys.stderr, flush=True)
            state, steps[name] = prepare_step(config, context)
            figures[name] = _sizes(config, state)
        for name, taken in in_turns(steps, options.steps, device).items():
            figures[name] |= {"ms": 1e3 * taken.seconds, "step_gib": taken.gib}
    _print(figures, device, options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=["full", "small", "tiny"], default="tiny")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="timed steps of each recipe")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="patches a step, for all recipes (default: the recipe's)"
    )
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with published network weights")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES), metavar="RECIPE")
    return parser.parse_args()


def _config(name: str, options: argparse.Namespace) -> RunConfig:
    config = get_recipe(name, options.size)
    return replace(config, {"budget.batch": options.batch}) if options.batch else config


def _sizes(config: RunConfig, state: TrainState) -> dict[str, Any]:
    """Return batch, patch and megapixels of a step, and the generator's parameters in millions."""
    budget = config.budget
    parameters = sum(parameter.numel() for parameter in state.model.parameters()) / 1e6
    return {
        "batch": budget.batch,
        "patch": budget.patch,
        "megapixels": budget.pixels_per_step / 1e6,
        "million": parameters,
    }


def _print(figures: dict[str, dict[str, Any]], device: torch.device, options: argparse.Namespace) -> None:
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"size {options.size}, {name}, torch {torch.__version__}, median of {options.steps} steps")
    print(
        f"{'recipe':20} {'G [M]':>7} {'batch':>5} {'patch':>5} {'ms/step':>9} {'ms/Mpx':>9} {'step GiB':>8}  vs esrgan"
    )
    base = figures.get(REFERENCE)
    for recipe, found in figures.items():
        found["ms_per_megapixel"] = found["ms"] / found["megapixels"]
        if base is not None:
            found["relative"] = found["ms_per_megapixel"] / (base["ms"] / base["megapixels"])
        print(
            f"{recipe:20} {found['million']:7.2f} {found['batch']:5} {found['patch']:5} {found['ms']:9.1f} "
            f"{found['ms_per_megapixel']:9.0f} {found['step_gib']:8.1f}  {found.get('relative', float('nan')):.2f}"
        )
    rounded = {
        recipe: {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}
        for recipe, found in figures.items()
    }
    print(json.dumps({"benchmark": "recipes", "size": options.size, "device": name, "recipes": rounded}))


if __name__ == "__main__":
    main()
