"""What a study's front costs to find: ours, part by part, against what else there is, by replays of a recorded study.

python benchmarks/tabular/search.py                     (about five minutes on 2 cores)
python benchmarks/tabular/search.py --seeds 5 --recording runs/aesop

Cost is device-seconds, upstream stages included, until 95% of the hypervolume of everything that was recorded (interpolations
left out) is found; the median over seeds. The reference point is the front's nadir and a tenth of its range (Ishibuchi
et al. 2018): with one far away, the first trial that comes along would have most of the hypervolume. Every strategy's
every checkpoint counts, also where the tool that it stands for would keep a trial's last result alone: that is in the
peers' favour.

- random, TPE: each trial trains its own upstream stages to the end, as with Ray Tune and OptunaSearch today
- MOASHA: Syne Tune's rule on random draws (`moasha.py`), as its paper has it and as its code computes it, with several
  settings
- ours: TPE, the recipe's own values first, upstream stages shared, trials stopped early, the last point of each trial
  that is on the front interpolated with its fidelity generator

`ratio` is the geometric mean over the recordings: much is gained in the wide space, where nothing is known of the
weights, and less in the narrow one, where any draw is decent. Caveats. A draw becomes the nearest of the recorded
trials that is left, and one that was stopped cannot be drawn again. What a shared stage saves depends on what it costs
beside a trial, so the ratio is given again with upstream stages priced as at the paper's setting, and for people who
have the fidelity generator's weights from elsewhere. At last, 1,000 simulated trials go through the study's own
bookkeeping, with Optuna's database in memory.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

# Started as a script: Python looks in benchmarks/, but the packages are one up.
sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import optuna
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.tabular.moasha import Moasha
from benchmarks.tabular.recording import Recording, load_recording
from benchmarks.tabular.replay import Strategy, pareto_halving, replay
from study.search.asha import MultiObjectiveASHA, Rungs

RECORDINGS = [Path(__file__).parent / "recordings" / name for name in ("wide-tiny", "aesop-tiny")]
TARGET = 0.95
FULL_PRICES = {"fidelity": 0.15, "autoencoder": 0.54}
"""What an upstream stage costs beside a trial at the paper's setting, as a share of what it does at `tiny`, both in
pixels seen: 1M x 16 x 128^2 and 100K x 64 x 256^2 beside 300K x 64 x 128^2 (METHODS 1.5), against 800 x 8 x 48^2 and
200 x 8 x 64^2 beside 160 x 4 x 64^2."""
GRACE, ETA = 80, 2.0
MOASHA_SETTINGS = ((40, 3.0), (40, 2.0), (80, 2.0))


def main() -> None:
    """Replay, print tables, end with one JSON line."""
    options = _parse()
    console = Console(stderr=True, width=140)
    results = {path.name: _search(path, options.seeds, console) for path in options.recording}
    seconds, trials = _simulate_a_thousand()
    result = {
        "benchmark": "search",
        "seeds": options.seeds,
        "target": TARGET,
        "recordings": results,
        "simulated_trials": trials,
        "simulated_seconds": round(seconds, 1),
        "ratio": round(float(np.prod([each["ratio"] for each in results.values()]) ** (1 / len(results))), 2),
    }
    print(json.dumps(result))


def _search(path: Path, seeds: int, console: Console) -> dict[str, Any]:
    """All comparisons on one recording."""
    recording = load_recording(path)
    recording = replace(recording, reference=recording.nadir())
    prices: dict[str, Callable[[str], float]] = {
        "as recorded": lambda stage: 1.0,
        "upstream at the paper's price": lambda stage: FULL_PRICES.get(stage, 1.0),
        "fidelity weights at hand": lambda stage: 0.0 if stage == "fidelity" else 1.0,
    }
    found = {}
    for name, price in prices.items():
        artifacts = {key: cost * price(key.partition("-")[0]) for key, cost in recording.artifacts.items()}
        compared = ("random", "TPE", OURS) if found else tuple(strategies(recording))
        title = f"{path.name}, {name}"
        found[name] = _costs(replace(recording, artifacts=artifacts), compared, seeds, console, title)
        console.print(_table(title, found[name]))
    costs = found["as recorded"]
    peers = [name for name in costs if not name.startswith((OURS, "TPE, recipe first +"))]
    return {
        "trials": len(recording.curves),
        "median_device_seconds": {name: _rounded(values) for name, values in costs.items()},
        "ratio": _ratio(costs, "random"),
        "ratio_to_each_peer": {peer: _finite(_ratio(costs, peer)) for peer in peers},
        "share_of_parts": {part: _finite(_ratio(costs, name)) for name, part in PARTS.items()},
        "ratio_at_the_paper_s_prices": _ratio(found["upstream at the paper's price"], "random"),
        "ratio_with_fidelity_weights_at_hand": _ratio(found["fidelity weights at hand"], "random"),
    }


def _finite(ratio: float) -> float | None:
    """JSON has no infinity: None for what never arrives."""
    return ratio if np.isfinite(ratio) else None


OURS = "ours"
PARTS = {
    "ours without sharing": "sharing",
    "ours without early stopping": "early stopping",
    "ours without interpolations": "interpolations",
    "ours with random draws": "sampler",
    "ours without the recipe first": "recipe first",
}
"""Each part's own share: how many times more it costs without it."""


def strategies(recording: Recording) -> dict[str, Strategy]:
    """All that are compared, by name."""
    plain = Strategy(sampler="random", sharing=False, interpolation=False, own_first=False)
    budget = int(max(curve.iterations[-1] for curve in recording.curves))
    halving = pareto_halving(recording.rungs(Rungs(GRACE, ETA)), ETA)
    ours = Strategy(sampler="tpe", sharing=True, stopper=halving, interpolation=True)
    peers = {"random": plain, "random, last points only": replace(plain, only_last=True)}
    for grace_period, reduction_factor in MOASHA_SETTINGS:
        for source, as_coded in (("paper", False), ("code", True)):
            rule = partial(
                _moasha, grace_period=grace_period, budget=budget, reduction_factor=reduction_factor, as_coded=as_coded
            )
            peers[f"MOASHA ({source}), grace_period {grace_period}, reduction_factor {reduction_factor:g}"] = replace(
                plain, stopper=rule
            )
    return {
        **peers,
        "TPE": replace(plain, sampler="tpe"),
        "TPE, recipe first": replace(plain, sampler="tpe", own_first=True),
        "TPE, recipe first + sharing": replace(plain, sampler="tpe", own_first=True, sharing=True),
        "TPE, recipe first + sharing + early stopping": replace(ours, interpolation=False),
        OURS: ours,
        "ours without sharing": replace(ours, sharing=False),
        "ours without early stopping": replace(ours, stopper=None),
        "ours without interpolations": replace(ours, interpolation=False),
        "ours with random draws": replace(ours, sampler="random"),
        "ours without the recipe first": replace(ours, own_first=False),
    }


def _moasha(
    recording: Recording, seed: int, *, grace_period: int, budget: int, reduction_factor: float, as_coded: bool
) -> Moasha:
    del recording, seed
    return Moasha(grace_period, budget, reduction_factor, as_coded)


def _costs(
    recording: Recording, compared: Sequence[str], seeds: int, console: Console, title: str
) -> dict[str, np.ndarray]:
    """Device-seconds to the target, by strategy and seed; on all cores."""
    costs = {name: np.zeros(seeds) for name in compared}
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        jobs = {
            processes.submit(_cost, recording, name, seed): (name, seed) for name in compared for seed in range(seeds)
        }
        for job in track(as_completed(jobs), title, total=len(jobs), console=console):
            name, seed = jobs[job]
            costs[name][seed] = job.result()
    return costs


def _cost(recording: Recording, name: str, seed: int) -> float:
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    goal = TARGET * recording.final_hypervolume()
    return replay(recording, strategies(recording)[name], seed, until=goal).cost_of(goal)


def _ratio(costs: Mapping[str, np.ndarray], peer: str) -> float:
    """How many times as much the peer costs, by the medians; a peer that never arrives is infinitely dear."""
    ours = float(np.median(costs[OURS]))
    return round(float(np.median(costs[peer])) / ours, 2) if np.isfinite(ours) else 0.0


def _rounded(values: np.ndarray) -> float | None:
    middle = float(np.median(values))
    return round(middle, 1) if np.isfinite(middle) else None


def _table(name: str, costs: Mapping[str, np.ndarray]) -> Table:
    table = Table("strategy", "device-seconds", "10% to 90%", "arrived", "times ours", title=name, title_justify="left")
    for strategy, values in costs.items():
        low, middle, high = (np.quantile(values, share, method="nearest") for share in (0.1, 0.5, 0.9))
        arrived = f"{np.isfinite(values).sum()} of {len(values)}"
        ratio = f"{_ratio(costs, strategy):.2f}"
        table.add_row(strategy, f"{middle:,.0f}", f"{low:,.0f} to {high:,.0f}", arrived, ratio)
    return table


def _simulate_a_thousand() -> tuple[float, int]:
    """Trials that train nothing, through sampler, queue, journal, early stopping and front; seconds, and how many."""
    from study.cluster.jobs import JobQueue
    from study.cluster.searcher import StudySearcher
    from study.config import RunConfig, Stage, stage_key
    from study.record.journal import Journal
    from study.record.state import Records
    from study.search.pareto_archive import Goals, ParetoArchive
    from study.search.spaces import load_space
    from study.search.trials import TrialSource

    space, trials = load_space("aesop"), 1000
    base = space.base("tiny", ())
    goals = Goals({"psnr_y": "maximize", "swd": "minimize"}, {"psnr_y": 20.0, "swd": 60.0})
    rule = MultiObjectiveASHA((40, 120), 3.0, ("maximize", "minimize"), (20.0, 60.0))
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        source = TrialSource(None, "s", ["maximize", "minimize"], space, base, seed=0)
        records = Records(Journal(Path(folder) / "journal.jsonl"))
        front = ParetoArchive(records, goals)

        def key_of(config: RunConfig, stage: Stage) -> str:
            return stage_key(config, stage, "images")

        queue = JobQueue(
            source,
            trials,
            key_of,
            on_trial=lambda asked, upstream: records.trial(asked.number, {}, asked.params, upstream),
            on_failed=lambda number, cause, params: None,
            clock=time.time,
        )

        def tell(number: int, state: str, metrics: dict[str, float] | None, cause: str | None) -> None:
            source.tell(number, state, None if metrics is None else goals.values(metrics), cause)  # type: ignore[arg-type]
            records.front(trials_ended=number, hypervolume=front.hypervolume, members=[])

        searcher = StudySearcher(
            queue,
            records,
            tell,
            slots=lambda: 8,
            common={},
            reference_scale=4,
            compare=lambda trial, iteration, metrics: rule.on_result(trial, iteration, goals.values(metrics)),
        )
        began = time.monotonic()
        _play(searcher, random)
        return time.monotonic() - began, len(records.states)


def _play(searcher: Any, random: np.random.Generator) -> None:
    """Tune and eight workers: each job at once, trials with a point every 40 iterations."""
    from ray.tune.search import Searcher

    number = 0
    while isinstance(handed_out := searcher.suggest(f"t{number}"), dict):
        name, job = f"t{number}", handed_out["job"]

        def say(name: str = name, **message: Any) -> bool:
            return bool(searcher.on_message(name, json.dumps(message)))

        say(type="entered", at=time.time(), warm=True)
        facts = {"metrics": {"psnr_y": 30.0, "swd": 20.0}, "images": {}, "budget": {}, "samples": ""}
        if job["kind"] == "trial":
            for iteration in (40, 80, 120, 160):
                metrics = {"psnr_y": float(random.uniform(22, 30)), "swd": float(random.uniform(5, 50))}
                point = {**facts, "metrics": metrics, "terms": {}}
                say(type="point", iteration=iteration, **point)
        say(type="end", state="COMPLETE", cause=None, reused=False, **facts)
        searcher.on_trial_complete(name, {"message": "{}"})
        number += 1
    assert handed_out == Searcher.FINISHED


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how often each strategy searches (20)")
    parser.add_argument(
        "--recording", type=Path, nargs="+", default=RECORDINGS, metavar="DIR", help="finished studies' directories"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
