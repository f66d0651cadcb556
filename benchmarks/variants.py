"""Do two configurations train to the same result? Variants of a recipe against the first, on images, over seeds.

python -m benchmarks.variants aesop --size tiny --data DIV2K/HR --val Set14/HR --weights WEIGHTS --seeds 3 \\
    --variant fp32 precision=fp32 --variant bf16 precision=bf16 --output OUT
python -m benchmarks.variants aesop ... --variant large --variant small autoencoder.features=16 autoencoder.blocks=1

Each variant trains all its stages with each seed (identical ones once), one process for all; the metrics are the last
point's. Printed are means over seeds, their standard deviation, and each variant's difference from the first, paired by
seed, with the standard error of the mean. An interrupted run resumes with the same `--output`. At `tiny`, a variant and
seed take minutes on 2 cores.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from study.config import RunConfig, parse_assignments, replace
from study.config.recipes import RECIPES, get_recipe
from study.record.events import PointEvaluated
from study.record.paths import TrialDirectory
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.preflight import LPIPS_NETWORK, find_networks, require_networks
from study.training.stages.adversarial import train_adversarial
from study.training.stages.artifacts import ensure_artifact
from study.training.stages.graph import STAGES

SHOWN = ("psnr_y", "lpips_alex", "swd")


def main() -> None:
    """Train all variants, print tables and one JSON line."""
    options = _parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    variants = {name: changes for name, *changes in options.variant}
    runs = {(name, seed): _config(options, variants[name], seed) for name in variants for seed in options.seed}
    networks = find_networks([next(iter(runs.values())).loss.perceptual_network, LPIPS_NETWORK], options.weights)
    for config in runs.values():
        require_networks(config, networks)
    context_spec = ContextSpec(
        data=next(iter(runs.values())).data,
        largest_patch=max(config.largest_patch() for config in runs.values()),
        artifacts=str(options.output.resolve() / "artifacts"),
        backbones=networks,
        lpips_weights=networks.get(LPIPS_NETWORK),
    )
    context, found = context_spec.open(), {}
    for seed in options.seed:  # seed by seed, so that early results are comparable
        for name in variants:
            found[name, seed] = _train(runs[name, seed], context, TrialDirectory(options.output / f"{name}-{seed}", 0))
            print(f"{name}, seed {seed}: {found[name, seed]}", flush=True)
    _print(found, options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=list(RECIPES))
    parser.add_argument("--size", choices=["full", "small", "tiny"], default="tiny")
    parser.add_argument(
        "--variant", nargs="+", action="append", required=True, metavar=("NAME", "FIELD=VALUE"), help="may be repeated"
    )
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of all variants")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="number of seeds (default: 3)")
    parser.add_argument("--data", default="photographs", metavar="SOURCE")
    parser.add_argument("--val", metavar="SOURCE")
    parser.add_argument("--weights", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    options.seed = range(options.seeds)
    return options


def _config(options: argparse.Namespace, changes: list[str], seed: int) -> RunConfig:
    seeds = {"seed": seed, "fidelity.seed": seed, "autoencoder.seed": seed}
    data = {"data.train": options.data, "data.val": options.val}
    config = replace(get_recipe(options.recipe, options.size), {**data, **seeds})
    return replace(config, parse_assignments([*options.set, *changes]))


def _train(config: RunConfig, context: RunContext, directory: TrialDirectory) -> dict[str, float]:
    """Train a run; return its last point's metrics and the time of a step of its last stage."""
    for needed, stage in STAGES["adversarial"].upstream(config):
        ensure_artifact(needed, stage, context)
    points: list[PointEvaluated] = []
    train_adversarial(config, context, directory, points.append)
    last = points[-1]
    seconds_a_step = last.spent.device_seconds / last.spent.iterations
    metrics = {name: round(last.metrics[name], 5) for name in SHOWN if name in last.metrics}
    return {**metrics, "ms_a_step": round(1e3 * seconds_a_step, 2)}


def _print(found: dict[tuple[str, int], dict[str, float]], options: argparse.Namespace) -> None:
    names, seeds = list(dict.fromkeys(name for name, _ in found)), list(options.seed)
    figures: dict[str, Any] = {}
    for metric in found[names[0], seeds[0]]:
        values = {name: [found[name, seed][metric] for seed in seeds] for name in names}
        figures[metric] = {
            name: {
                "mean": round(statistics.mean(of_seeds), 5),
                "deviation": round(_deviation(of_seeds), 5),
                **_difference(of_seeds, values[names[0]]),
            }
            for name, of_seeds in values.items()
        }
        print(f"\n{metric:12} {'mean':>10} {'deviation':>10} {'to first':>10} {'+-':>10}")
        for name, row in figures[metric].items():
            print(
                f"{name:12} {row['mean']:10.4f} {row['deviation']:10.4f} {row['difference']:10.4f} {row['error']:10.4f}"
            )
    print(json.dumps({"benchmark": "variants", "recipe": options.recipe, "seeds": len(seeds), "figures": figures}))


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _difference(values: list[float], first: list[float]) -> dict[str, float]:
    """Return the mean difference, paired by seed, and its standard error."""
    differences = [one - other for one, other in zip(values, first, strict=True)]
    error = _deviation(differences) / len(differences) ** 0.5
    return {"difference": round(statistics.mean(differences), 5), "error": round(error, 5)}


if __name__ == "__main__":
    main()
