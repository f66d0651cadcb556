"""What a training step of each recipe costs: time, memory, and both next to ESRGAN's.

python benchmarks/recipes.py --size tiny                    (on a CPU: minutes)
python benchmarks/recipes.py --size full --steps 20         (on a GPU)

Each recipe's adversarial step runs as in a study, but on random patches, from random weights in the place of its
upstream artifacts, and with a perceptual network of random weights where the published ones are not found. Recipes take
turns, so that a machine whose speed varies treats them alike; figures are medians. A step at `full` sees each paper's
own batch; `--batch N` gives every recipe as many patches. Times are also given for a megapixel of HR patches, and what
a step needs of a GPU's memory beyond what its networks and optimisers hold.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Started as a script: Python looks in benchmarks/, but the packages are one up.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from study.config import RunConfig, replace
from study.data import ImageSet
from study.metrics.judge import study_judge
from study.models.backbones import find_backbone
from study.recipes import RECIPES, get_recipe
from study.training.adversarial import prepare_adversarial
from study.training.artifact_store import ArtifactFolder
from study.training.loop import pick_device
from study.training.measurement import give_random_upstream
from study.training.state import set_learning_rate, update_ema
from study.training.workshop import Workshop

REFERENCE = "esrgan"


def main() -> None:
    """Measure every recipe and print a table and one JSON line."""
    options = _parse()
    device = pick_device()
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = {}
        for name in options.recipes:
            config = _config(name, options)
            print(f"building {name}", file=sys.stderr, flush=True)
            steps[name], figures[name] = _prepare(config, _workshop(Path(folder), device, options), device)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(options.steps + 1):
            for name, step in steps.items():
                seconds, memory = _timed(step, device)
                figures[name]["step_gib"] = max(figures[name].get("step_gib", 0.0), memory)
                if turn > 0:  # the first one also chooses algorithms and fills caches
                    times[name].append(seconds)
    for name, taken in times.items():
        figures[name]["ms"] = 1e3 * statistics.median(taken)
    _print(figures, device, options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=["full", "small", "tiny"], default="tiny")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="timed steps of each recipe")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="patches a step, for all recipes (default: each its own)"
    )
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with published network weights")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES), metavar="RECIPE")
    return parser.parse_args()


def _config(name: str, options: argparse.Namespace) -> RunConfig:
    config = get_recipe(name, options.size)
    return replace(config, {"budget.batch": options.batch}) if options.batch else config


def _workshop(folder: Path, device: torch.device, options: argparse.Namespace) -> Workshop:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    images = ImageSet.loaded("noise", ("noise",), (noise,))
    networks = {name: find_backbone(name, options.weights) for name in ("vgg19", "squeezenet")}
    backbones = {name: path or _random_network(folder, name) for name, path in networks.items()}
    return Workshop(images, images, ArtifactFolder(folder / "artifacts"), study_judge(None, device), backbones, device)


def _random_network(folder: Path, name: str) -> Path:
    """A file of a torchvision network with random weights: as fast as a trained one."""
    from torchvision import models

    path = folder / f"{name}_features.pth"
    if not path.exists():
        build = {"vgg19": models.vgg19, "squeezenet": models.squeezenet1_1}[name]
        torch.save(build(weights=None).features.state_dict(), path)
    return path


def _prepare(
    config: RunConfig, workshop: Workshop, device: torch.device
) -> tuple[Callable[[], object], dict[str, Any]]:
    """A function that trains one step of a recipe, and what its networks weigh."""
    give_random_upstream(config, "adversarial", workshop)
    state, step, _ = prepare_adversarial(config, workshop)
    budget, scale = config.budget, config.data.scale
    hr = torch.rand(budget.batch, 3, budget.patch, budget.patch, device=device)
    low = torch.rand(budget.batch, 3, budget.patch // scale, budget.patch // scale, device=device)
    hr, low = (images.contiguous(memory_format=torch.channels_last) for images in (hr, low))
    set_learning_rate(state, 0.0)  # from random weights it would diverge; the work is the same
    state.iteration = budget.iterations - 1  # past the share in which layers are frozen

    def train() -> None:
        step(state, low, hr)
        update_ema(state, config.optimiser.ema_decay)

    megapixels = budget.pixels_per_step / 1e6
    parameters = sum(parameter.numel() for parameter in state.model.parameters()) / 1e6
    return train, {"batch": budget.batch, "patch": budget.patch, "megapixels": megapixels, "million": parameters}


def _timed(step: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of a step, and how much more memory a GPU held in it than before, in GiB."""
    on_gpu = device.type == "cuda"
    before = 0
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    started = time.perf_counter()
    step()
    if on_gpu:
        torch.cuda.synchronize()
    memory = (torch.cuda.max_memory_allocated() - before) / 2**30 if on_gpu else 0.0
    return time.perf_counter() - started, memory


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
