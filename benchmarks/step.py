"""How fast is AESOP's training step? Ours against a plain reimplementation of the official one (`official_step.py`).

python -m benchmarks.step                                   (on a CPU, 16 x 2 and 32 x 4, patch 128, batch 4: minutes)
python -m benchmarks.step --sizes 64x23 --batch 16 --compile              (on a GPU: the paper's size)

Both train the same networks (RRDB generator and auto-encoder, VGG-style discriminator) with the same loss (AESOP, LDL,
VGG-19 with random weights, relativistic GAN) from the same weights on the same patches. Groups take turns in one
process; times are medians, ratios medians of each turn's ratio, after a warm-up. Then, each in its own process: peak
memory. Last, whether both compute the same: differences of generator, discriminator and average after 20 steps on
photographs, in float64 and float32.

- `official`: NCHW, float32, five discriminator passes, per-parameter average, each loss read back.
- `official-bf16`: the same, channels-last, under autocast.
- `fp32`, `bf16`: ours; `compiled`: bf16 with torch.compile of all networks.

`ratio` is `official` over ours in the precision that `--precision auto` chooses on this device for recipes above
`tiny`, the geometric mean over the sizes. `ratios` has each group's.
"""

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.step_groups import EMA_DECAY, Networks, Step, group_names, make_step
from study.data import Batches, make_pairs
from study.data.feed import feed
from study.data.layouts import find_layout
from study.data.sources import folder, photographs
from study.training.loop import pick_device
from study.training.peak_memory import PeakMemory
from study.training.precision import fastest_precision
from study.training.state import update_ema
from study.training.steps import adversarial_step

EQUAL_STEPS = 20
WARM_UP = 2  # turns


def main() -> None:
    """Measure, print tables and one JSON line."""
    options = _parse()
    device = pick_device()
    if options.memory_of:
        print(json.dumps(_peak(options, device)))
        return
    chosen = fastest_precision(device)
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{_processor()}, {torch.get_num_threads()} threads"
    )
    print(f"{name}, torch {torch.__version__}, patch {options.patch}, batch {options.batch}, ours is {chosen} here")
    figures = {size: _measure(size, options, device) for size in options.sizes}
    ratios = {
        group: math.prod(found["ratio"][group] for found in figures.values()) ** (1 / len(figures))
        for group in group_names(options.compile)
    }
    differences = {size: _differences(size, options, device) for size in options.sizes}
    print(f"\nweights after {EQUAL_STEPS} steps, relative differences")
    for size, found in differences.items():
        for pair, values in found.items():
            print(f"{size}  {pair:40} " + "  ".join(f"{network} {value:.1e}" for network, value in values.items()))
    print(
        json.dumps(
            {
                "benchmark": "step",
                "device": name,
                "torch": torch.__version__,
                "patch": options.patch,
                "batch": options.batch,
                "sizes": figures,
                "differences": differences,
                "precision": chosen,
                "ratios": {group: round(ratio, 3) for group, ratio in ratios.items()},
                "ratio": round(ratios[chosen], 3),
            }
        )
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["16x2", "32x4"], metavar="FxB", help="features x blocks")
    parser.add_argument("--patch", type=int, choices=[128, 256], default=128, help="HR side in pixels (default: 128)")
    parser.add_argument("--batch", type=int, default=4, metavar="N", help="patches a step (default: 4)")
    parser.add_argument("--turns", type=int, default=15, metavar="N", help="timed steps of each group (default: 15)")
    parser.add_argument(
        "--discriminator",
        type=int,
        metavar="F",
        help="features of the discriminator (default: 64; 0: as many as the generator)",
        default=64,
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="photographs (default: those of scikit-image)")
    parser.add_argument("--without-vgg", action="store_true", help="without the perceptual term")
    parser.add_argument("--compile", action="store_true", help="also measure our networks compiled")
    parser.add_argument("--profile", action="store_true", help="print the time of our step by operator")
    parser.add_argument("--memory-of", metavar="GROUP", help=argparse.SUPPRESS)
    return parser.parse_args()


def _networks(size: str, options: argparse.Namespace) -> Networks:
    return Networks(size, patch=options.patch, discriminator=options.discriminator, vgg=not options.without_vgg)


def _measure(size: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    networks = _networks(size, options)
    lq, hr = _noise(options, device)
    steps = {name: make_step(name, networks, device) for name in group_names(options.compile)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(options.turns + WARM_UP):
        for name, step in steps.items():
            taken = _seconds(lambda step=step: step(lq, hr), device)
            if turn >= WARM_UP:
                times[name].append(taken)
    operations = {name: _operations(step, lq, hr) for name, step in steps.items() if name != "compiled"}
    memory = {name: _peak_of(name, size, options) for name in steps}
    found: dict[str, Any] = {
        "ms": {name: round(1e3 * statistics.median(taken), 2) for name, taken in times.items()},
        "gflop": {name: round(value / 1e9, 2) for name, value in operations.items()},
        "peak_gib": memory,
        "images_per_second": {
            name: round(options.batch / statistics.median(taken), 2) for name, taken in times.items()
        },
        "ratio": {name: round(_ratio(times["official"], taken), 3) for name, taken in times.items()},
        "ratio_to_official_bf16": {
            name: round(_ratio(times["official-bf16"], taken), 3) for name, taken in times.items()
        },
    }
    peaks = {"fp32": _matrix_peak(torch.float32, device), "bf16": _matrix_peak(torch.bfloat16, device)}
    found["share_of_matrix_peak"] = {
        name: round(operations[name] / statistics.median(times[name]) / peaks[name], 3) for name in peaks
    }
    print(f"\n{size}, discriminator {networks.width}, {'no VGG' if networks.vgg is None else 'VGG-19'}")
    print(f"{'':14} {'ms/step':>9} {'images/s':>9} {'GFLOP':>8} {'GFLOP/s':>8} {'peak GiB':>9} {'faster':>7}")
    for name in steps:
        gflop = found["gflop"].get(name, float("nan"))
        rate = 1e3 * gflop / found["ms"][name]
        print(
            f"{name:14} {found['ms'][name]:9.1f} {found['images_per_second'][name]:9.1f} {gflop:8.1f} {rate:8.0f} "
            f"{memory[name]:9.3f} {found['ratio'][name]:7.2f}",
            flush=True,
        )
    shares = ", ".join(
        f"{name} {found['share_of_matrix_peak'][name]:.0%} of {peaks[name] / 1e9:,.0f} GFLOP/s" for name in peaks
    )
    print(f"of the rate of a large matrix product: {shares}")
    found["data_share"] = _data_share(steps[fastest_precision(device)], options, device)
    print(
        f"data path: a step waits {100 * found['data_share']['waited']:.2f}% of its time, "
        f"making a batch takes {100 * found['data_share']['made']:.2f}% of a step on one core"
    )
    if options.profile:
        _print_profile(steps[fastest_precision(device)], lq, hr)
    return found


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(theirs, ours, strict=True))


def _operations(step: Step, lq: Tensor, hr: Tensor) -> float:
    """Count the floating-point operations of a step's convolutions and matrix products, both passes."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step(lq, hr)
    return float(counter.get_total_flops())


def _matrix_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Return the rate of a large matrix product, operations a second: the best of six."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(_seconds(lambda: left @ right, device) for _ in range(6))


def _noise(options: argparse.Namespace, device: torch.device) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    hr = torch.rand(options.batch, 3, options.patch, options.patch, device=device)
    return torch.nn.functional.avg_pool2d(hr, 4), hr


def _peak_of(group: str, size: str, options: argparse.Namespace) -> float:
    """Return the peak memory of a group's steps in a process of its own, GiB."""
    command = [sys.executable, "-m", "benchmarks.step", "--memory-of", group, "--sizes", size]
    command += [
        "--patch",
        str(options.patch),
        "--batch",
        str(options.batch),
        "--discriminator",
        str(options.discriminator),
    ]
    command += ["--without-vgg"] if options.without_vgg else []
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(answer.splitlines()[-1]))


def _peak(options: argparse.Namespace, device: torch.device) -> float:
    step = make_step(options.memory_of, _networks(options.sizes[0], options), device)
    lq, hr = _noise(options, device)
    memory = PeakMemory(device)
    for _ in range(4):
        step(lq, hr)
    return round(memory.read() or math.nan, 4)


def _differences(size: str, options: argparse.Namespace, device: torch.device) -> dict[str, dict[str, float]]:
    """Return relative differences of weights after some steps on photographs: the difference's norm over the norm.

    Without VGG-19, which does not train, and with a discriminator as wide as the generator. Adam divides gradients by
    their size, so a gradient of rounding errors alone gives a float32 step in any direction: the difference between the
    official step in float32 and in float64 is the precision that can be expected.
    """
    networks = Networks(size, patch=options.patch, discriminator=0, vgg=False)
    batches, trained = _batches(options), {}
    for dtype in (torch.float64, torch.float32):
        networks.to(dtype)
        official = networks.official(device)
        state, generator_loss = networks.ours(device, "fp32")
        step = adversarial_step(generator_loss)
        for number in range(EQUAL_STEPS):
            lq, hr = (images.to(device, dtype) for images in batches.at(number))
            official.step(lq, hr)
            step(state, *(images.contiguous(memory_format=torch.channels_last) for images in (lq, hr)))
            update_ema(state, EMA_DECAY)
        bits = "float64" if dtype == torch.float64 else "float32"
        trained[f"official {bits}"] = (official.net_g, official.net_d, official.net_g_ema)
        trained[f"ours {bits}"] = (state.model, state.discriminators["adversarial"], state.ema)
    pairs = [
        ("official float64", "ours float64"),
        ("official float32", "ours float32"),
        ("official float64", "official float32"),
        ("official float64", "ours float32"),
    ]
    return {
        f"{one} - {other}": dict(zip(("G", "D", "EMA"), map(_apart, trained[one], trained[other]), strict=True))
        for one, other in pairs
    }


def _apart(one: nn.Module, other: nn.Module) -> float:
    """Compare parameters alone: batch norm's running statistics are never read."""
    theirs, ours = (dict(network.named_parameters()) for network in (one, other))
    assert theirs.keys() == ours.keys()
    expected = torch.cat([weight.detach().double().flatten() for weight in theirs.values()])
    found = torch.cat([ours[name].detach().double().flatten() for name in theirs])
    return float((expected - found).norm() / expected.norm())


def _batches(options: argparse.Namespace) -> Batches:
    images = photographs()[0]
    if options.images:
        images = folder(find_layout([options.images], scale=4, lq=None), scale=4, least=options.patch)
    return Batches(make_pairs(images, 4), patch=options.patch, batch=options.batch, seed=0)


def _data_share(step: Step, options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Return two shares of a step's time: waiting for a batch, and making one on one core."""
    batches, waited, steps = _batches(options), 0.0, options.turns
    with feed(batches, range(steps), device) as incoming:
        step(*next(incoming))
        started = time.perf_counter()
        for _ in range(steps - 1):
            began = time.perf_counter()
            lq, hr = next(incoming)
            waited += time.perf_counter() - began
            step(lq, hr)
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent = time.perf_counter() - started
    began = time.perf_counter()
    for number in range(steps - 1):
        batches.at(number)
    made = time.perf_counter() - began
    return {"waited": round(waited / spent, 5), "made": round(made / spent, 5)}


def _print_profile(step: Step, lq: Tensor, hr: Tensor) -> None:
    from torch.profiler import profile

    with profile() as profiler:
        step(lq, hr)
    on_gpu = lq.is_cuda
    rows = sorted(
        profiler.key_averages(),
        key=lambda row: -(row.self_device_time_total if on_gpu else row.self_cpu_time_total),
    )
    total = sum(row.self_device_time_total if on_gpu else row.self_cpu_time_total for row in rows)
    print("time of our step by operator")
    for row in rows[:12]:
        taken = row.self_device_time_total if on_gpu else row.self_cpu_time_total
        print(f"  {row.key[:60]:60} {100 * taken / total:5.1f}%  {row.count:5} calls")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


if __name__ == "__main__":
    main()
