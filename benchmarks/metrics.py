"""How many images a second does a table of metrics take? Ours against lpips and torchmetrics, call by call.

python -m benchmarks.metrics --hr Set14/HR --weights WEIGHTS            (on Set14 about five minutes on 2 cores)
python -m benchmarks.metrics --hr Set14/HR --random-vgg       (with VGG-16's metrics; weights do not change the cost)

Ours is the evaluator of `study/evaluate.py` and of every trial, on pairs of HR and bicubic images. The peer calls lpips
and torchmetrics as their documentation shows, on the same pairs with the same number of threads; its luma and crops are
made beforehand and not timed. Both take turns, by the images that ours evaluates side by side; the libraries get one
image at a time, on all threads. Figures are medians over rounds. A table has one row or several: for further rows ours
reuses the HR image's features, which the libraries' interfaces do not allow. `ratio` is ours over the peer for several
rows.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from study.data import bicubic_upsample
from study.evaluation.sets import find_sets, open_set
from study.metrics.evaluator import BACKBONE_OF, Evaluator
from study.metrics.fidelity import cropped_levels, cropped_luma
from study.metrics.parallel import evaluate_each, group_images
from study.metrics.quantise import quantise
from study.models.backbones import BackboneName, find_backbone
from study.models.lpips_distance import LPIPS_BACKBONES, LpipsNetwork
from study.training.loop import pick_device

SHARED = ("psnr_y", "ssim_y", "lpips_alex", "lpips_vgg", "lpips_squeeze", "dists", "psnr_rgb", "ms_ssim")
"""The metrics that the libraries have as well."""

Peer = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def main() -> None:
    """Measure, print a table and one JSON line."""
    warnings.simplefilter("ignore")
    options = _parse()
    device = pick_device()
    backbones = _backbones(options)
    names = [name for name in SHARED if BACKBONE_OF.get(name, "alexnet") in backbones]
    evaluator = Evaluator(names, device, backbones=backbones)
    peers = {name: _peer(name, backbones, device) for name in names}
    pairs = _pairs(options.hr, options.rows, device)
    times = {name: {"ours": [], "peer": []} for name in [*names, "one row", "rows"]}  # type: ignore[var-annotated]
    values: dict[str, float] = dict.fromkeys(names, 0.0)
    for number in range(options.rounds + 1):
        taken = _round(pairs, names, evaluator, peers, backbones, device, values)
        for name, both in taken.items() if number else ():  # the first is a warm-up
            for side, seconds in both.items():
                times[name][side].append(seconds)
        print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
    _report(times, values, len(pairs), options.rows, device)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hr", type=Path, required=True, metavar="DIR", help="a folder of HR images, such as Set14's")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with published backbone weights")
    parser.add_argument("--random-vgg", action="store_true", help="give VGG-16 random weights if none are found")
    parser.add_argument("--rows", type=int, default=5, metavar="N", help="rows of the larger table (default: 5)")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="rounds over the set, after a warm-up (default: 3)"
    )
    return parser.parse_args()


def _backbones(options: argparse.Namespace) -> dict[BackboneName, Path]:
    wanted: list[BackboneName] = ["alexnet", "squeezenet", "vgg16"]
    found = {name: find_backbone(name, options.weights) for name in wanted}
    if options.random_vgg and found["vgg16"] is None:
        found["vgg16"] = _random_vgg()
    return {name: path for name, path in found.items() if path is not None}


def _random_vgg() -> Path:
    import tempfile

    import torchvision

    path = Path(tempfile.mkdtemp()) / "vgg16_features.pth"
    torch.save(torchvision.models.vgg16(weights=None).features.state_dict(), path)
    return path


def _pairs(folder: Path, rows: int, device: torch.device) -> list[tuple[str, Tensor, list[Tensor]]]:
    """Return name, HR and SR images of each row: bicubic, with increasing noise."""
    test = open_set(find_sets([folder], [], [], 4)[0], 4)
    pairs = []
    for index, name in enumerate(test.pairs.names):
        lq, hr = (image.to(device) for image in test.pairs.tensors(index))
        sr = bicubic_upsample(lq, 4)
        noise = torch.randn(sr.shape, generator=torch.Generator().manual_seed(index)).to(device)
        pairs.append((name, hr, [quantise(sr + 0.01 * row * noise) for row in range(rows)]))
    return pairs


def _round(
    pairs: list[tuple[str, Tensor, list[Tensor]]],
    names: list[str],
    evaluator: Evaluator,
    peers: dict[str, Peer],
    backbones: dict[BackboneName, Path],
    device: torch.device,
    values: dict[str, float],
) -> dict[str, dict[str, float]]:
    """Time the whole set: seconds by metric, and of all metrics for one row and for all rows."""
    taken = {name: {"ours": 0.0, "peer": 0.0} for name in [*names, "one row", "rows"]}
    for group in group_images([hr[0, 0].numel() for _, hr, _ in pairs], device):
        images = [pairs[index] for index in group]
        for row in range(len(images[0][2])):
            inputs = [(rows[row], hr, name) for name, hr, rows in images]
            ours = _seconds(partial(_evaluate_all, evaluator, inputs), device)
            theirs = {metric: _peer_seconds(metric, peer, inputs, device) for metric, peer in peers.items()}
            for table in ["rows", "one row"] if row == 0 else ["rows"]:
                taken[table]["ours"] += ours
                taken[table]["peer"] += sum(theirs.values())
            for metric, seconds in theirs.items() if row == 0 else ():
                taken[metric]["peer"] += seconds
        for name, _, _ in images:
            evaluator.forget(name)
    for metric in names:
        single = _single(metric, backbones, device)
        for group in group_images([hr[0, 0].numel() for _, hr, _ in pairs], device):
            inputs = [(pairs[index][2][0], pairs[index][1], None) for index in group]
            taken[metric]["ours"] += _seconds(partial(_evaluate_all, single, inputs), device)
        values[metric] = max(
            abs(single(rows[0], hr)[metric] - float(peers[metric](_given(metric, rows[0]), _given(metric, hr))))
            for _, hr, rows in pairs[:3]
        )
    return taken


_SINGLE: dict[str, Evaluator] = {}


def _single(metric: str, backbones: dict[BackboneName, Path], device: torch.device) -> Evaluator:
    """Return an evaluator of one metric, built once."""
    if metric not in _SINGLE:
        _SINGLE[metric] = Evaluator([metric], device, backbones=backbones)
    return _SINGLE[metric]


def _evaluate_all(evaluator: Evaluator, inputs: list[tuple[Tensor, Tensor, str | None]]) -> list[dict[str, float]]:
    sizes = [hr[0, 0].numel() for _, hr, _ in inputs]
    return list(evaluate_each(lambda pair: evaluator(pair[0], pair[1], key=pair[2]), inputs, sizes))


def _peer_seconds(
    metric: str, peer: Peer, inputs: list[tuple[Tensor, Tensor, str | None]], device: torch.device
) -> float:
    """Return a library's seconds for images one by one."""
    given = [(_given(metric, sr), _given(metric, hr)) for sr, hr, _ in inputs]
    return _seconds(lambda: [float(peer(*pair)) for pair in given], device)


def _given(metric: str, images: Tensor) -> Tensor:
    """Return the libraries' input: float32 luma or levels without borders, or RGB in [0, 1]."""
    if metric in ("psnr_y", "ssim_y", "ms_ssim"):
        return cropped_luma(images).float()
    return cropped_levels(images).float() if metric == "psnr_rgb" else images


def _peer(metric: str, backbones: dict[BackboneName, Path], device: torch.device) -> Peer:
    """Return a metric as its library's documentation builds it."""
    import torchmetrics.image as libraries

    if metric.startswith("lpips_"):
        return _lpips(metric.removeprefix("lpips_"), backbones, device)  # type: ignore[arg-type]
    if metric == "dists":
        return _dists(backbones["vgg16"], device)
    built: dict[str, Callable[[], nn.Module]] = {
        "psnr_y": lambda: libraries.PeakSignalNoiseRatio(data_range=255.0),
        "psnr_rgb": lambda: libraries.PeakSignalNoiseRatio(data_range=255.0),
        "ssim_y": lambda: libraries.StructuralSimilarityIndexMeasure(data_range=255.0),
        "ms_ssim": lambda: libraries.MultiScaleStructuralSimilarityIndexMeasure(data_range=255.0),
    }
    return built[metric]().to(device)


def _lpips(network: LpipsNetwork, backbones: dict[BackboneName, Path], device: torch.device) -> Peer:
    import lpips

    from study.models.lpips_distance import LpipsDistance

    with contextlib.redirect_stdout(sys.stderr):
        metric = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
    known = LpipsDistance(backbones[LPIPS_BACKBONES[network]], network=network).backbone.state_dict()
    metric.net.load_state_dict(known)
    metric.to(device)
    found: Peer = lambda sr, hr: metric(sr, hr, normalize=True)  # noqa: E731
    return found


def _dists(path: Path, device: torch.device) -> Peer:
    import torchvision
    from torchmetrics.functional.image import dists
    from torchmetrics.image.dists import DeepImageStructureAndTextureSimilarity

    vgg = torchvision.models.vgg16(weights=None)
    state = torch.load(path, map_location="cpu", weights_only=True)
    vgg.features.load_state_dict({name.removeprefix("features."): value for name, value in state.items()})
    dists.vgg16 = lambda weights: vgg  # otherwise it downloads weights
    return DeepImageStructureAndTextureSimilarity().to(device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _report(
    times: dict[str, dict[str, list[float]]], values: dict[str, float], images: int, rows: int, device: torch.device
) -> None:
    figures = {}
    print(f"{'':16}{'ours':>10}{'peer':>10}{'ratio':>8}  largest difference")
    for name, both in times.items():
        ours, peer = (
            images * (rows if name == "rows" else 1) / statistics.median(both[side]) for side in ("ours", "peer")
        )
        figures[name] = {"ours": round(ours, 2), "peer": round(peer, 2), "ratio": round(ours / peer, 2)}
        label = f"all, {rows} rows" if name == "rows" else f"all, {name}" if name == "one row" else name
        difference = f"{values[name]:.1e}" if name in values else ""
        print(f"{label:16}{ours:10.2f}{peer:10.2f}{ours / peer:8.2f}  {difference}")
    print(
        json.dumps(
            {
                "benchmark": "metrics",
                "ratio": figures["rows"]["ratio"],
                "ratio_one_row": figures["one row"]["ratio"],
                "rows": rows,
                "images": images,
                "images_per_second": figures,
                "device": device.type,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
