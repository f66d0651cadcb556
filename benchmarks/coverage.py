"""How often do the report's 95% intervals contain the truth? In simulated studies, against plain percentile intervals.

python -m benchmarks.coverage                    (about ten minutes on 2 cores)
python -m benchmarks.coverage --studies 500

Two groups of trials are evaluated on few images. Images differ in difficulty (by 2 dB), in their effect on each group
and in their effect on each point; runs of one configuration differ by their seeds. For each study
`analysis.statistics.dominance` compares the two groups' hypervolumes; the truth is the difference over infinitely many
images and seeds. The peer is the percentile interval of the same bootstrap. Nominal coverage is 95%.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor

import moocore
import numpy as np
from joblib import cpu_count
from rich.console import Console
from rich.progress import track
from rich.table import Table

from analysis.statistics.dominance import compare_all
from analysis.statistics.resampling import resampled_weights
from tests.analysis.statistics.made_comparisons import World

WORLDS = {
    "20 images": World(),
    "5 images": World(images=5),
    "100 images": World(images=100),
    "10 images, equal groups": World(images=10, shift=0.0),
    "20 images, 30 points that differ little": World(points=30, shift=0.0),
    "12 images, points vary more than groups": World(images=12, by_group=0.05, by_point=0.3),
    "20 images, 2 seeds": World(seeds=2, by_seed=0.15),
    "20 images, 2 seeds that matter most": World(seeds=2, by_seed=0.15, by_group=0.05, by_point=0.05),
    "20 images, 5 seeds": World(seeds=5, by_seed=0.15),
}


def main() -> None:
    """Simulate, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, metavar="N", help="of each kind (2000)")
    studies = parser.parse_args().studies
    console = Console(stderr=True, width=120)
    table = Table("studies of two groups", "interval contains the truth", "percentile interval", "wrong sign")
    found = {}
    with ProcessPoolExecutor(cpu_count()) as pool:
        for name, world in track(WORLDS.items(), "simulating", console=console):
            truth = world.truth(np.random.default_rng(10**6))
            parts = pool.map(_evaluate, [world] * studies, [truth] * studies, range(studies), chunksize=25)
            held, plain, wrong = np.mean(list(parts), axis=0)
            found[name] = {"coverage": round(held, 4), "percentile": round(plain, 4), "wrong_sign": round(wrong, 4)}
            table.add_row(name, f"{held:.1%}", f"{plain:.1%}", f"{wrong:.1%}")
    console.print(table)
    covered = [each["coverage"] for each in found.values()]
    print(
        json.dumps(
            {"benchmark": "coverage", "studies": studies, "nominal": 0.95, "worlds": found}
            | {"lowest": min(covered), "highest": max(covered)}
        )
    )


def _evaluate(world: World, truth: float, number: int) -> tuple[bool, bool, bool]:
    """Return whether each interval contains the truth, and whether the sign is wrong at 97.5% confidence."""
    made = world.comparison(np.random.default_rng(number))
    (comparison,) = compare_all(made, draws=300, seed=number)
    found = comparison.difference
    wrong = (found.positive > 0.975 and truth <= 0) or (found.positive < 0.025 and truth >= 0)
    weights = resampled_weights(made.images, 300, np.random.default_rng(number))
    fields = [one.losses for one in made.groups]
    draws = [
        [moocore.hypervolume(means, ref=made.corner) for means in np.einsum("di,pio->dpo", weights, field)]
        for field in fields
    ]
    low, high = np.quantile(np.subtract(*draws), [0.025, 0.975])
    return found.low <= truth <= found.high, low <= truth <= high, wrong


if __name__ == "__main__":
    main()
