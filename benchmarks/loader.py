"""How many patches a second does one core load? Ours against BasicSR's reading path, and against plain copying.

python -m benchmarks.loader            (two minutes; needs the extra `benchmarks`: OpenCV and LMDB)

Groups, each giving batches of 16 random pairs (HR patch 128 or 256, x4), on images of 480 x 320:

- `png`, `lmdb`: the peer, BasicSR's PairedImageDataset rewritten: for each patch it reads both whole files (from a
  folder or LMDB), decodes them with OpenCV, converts to float, crops, flips and transposes at random, converts BGR to
  RGB and to planes, and stacks.
- `ours`: `Batches.at` on a store: the same from mapped pixels. `ours_uint8`: `Batches.levels`, which a GPU is sent.
- `limit`: a plain crop of both images from one memory-mapped file of raw pixels, copied, neither turned nor converted.
  `float_limit`: the same, with the batch converted to float.

Groups take turns in short slices, so that changes of the machine's speed affect all of them; ratios are medians over
rounds.

With `--gpu` (neither OpenCV, LMDB nor pyarrow needed) the groups are ways to a CUDA device: `resident`, cut there from
images on the device; `sent`, cut as uint8 by the feeding thread and converted there; `float_sent`, converted on the
CPU.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.data import Batches, ImageSet, make_pairs
from study.data.feed import ResidentBatches, _prefetch
from study.data.image_files import list_images
from study.data.images import read_image

BATCH, SCALE, HEIGHT, WIDTH = 16, 4, 320, 480
Make = Callable[[int], Any]  # makes the batch of a step


def main() -> None:
    """Measure all groups at both patch sizes, print tables and one JSON line."""
    options = _parse()
    if options.gpu:
        _measure_gpu(options)
        return
    cv2, lmdb = _peer_libraries()
    _use_one_core(cv2)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source, count = _write_images(place, options.images, cv2)
        print(f"{count} images of {WIDTH} x {HEIGHT} px ({source}), batches of {BATCH}, x{SCALE}, one core", flush=True)
        _write_lmdb(place, lmdb)
        figures: dict[str, Any] = {"benchmark": "loader", "images": source}
        figures |= {"torch": torch.__version__, "opencv": cv2.__version__}
        for patch in (128, 256):
            rates = _measure(_groups(place, patch, cv2, lmdb), options.seconds)
            figures[f"patch_{patch}"] = _print(patch, rates)
    patches = [figures["patch_128"], figures["patch_256"]]
    for name in ("share_of_uint8_limit_as_float", "share_of_uint8_limit", "ratio_as_uint8", "ratio", "share_of_limit"):
        figures[name] = min(patch[name] for patch in patches)
    print(json.dumps(figures))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="of measuring each patch size (default: 40)")
    parser.add_argument("--images", type=Path, help="folder of photographs (default: ../shared/data/BSDS500/train)")
    parser.add_argument("--gpu", action="store_true", help="measure the ways onto a GPU instead")
    return parser.parse_args()


def _measure_gpu(options: argparse.Namespace) -> None:
    """Measure batches that arrive on a GPU."""
    if not torch.cuda.is_available():
        sys.exit("--gpu needs a CUDA device, but torch finds none")
    source, photographs = _photographs(options.images)
    images = ImageSet.loaded("benchmark", [f"{number:04}" for number in range(len(photographs))], photographs)
    pairs, device = make_pairs(images, SCALE), torch.device("cuda")
    figures: dict[str, Any] = {"benchmark": "loader --gpu", "images": source}
    figures |= {"torch": torch.__version__, "gpu": torch.cuda.get_device_name()}
    for patch in (128, 256):
        batches = Batches(pairs, patch=patch, batch=BATCH, seed=0)
        sent = _prefetch(batches, range(10**9), device, 0, 1)
        groups: dict[str, Make] = {
            "resident": _synchronised(ResidentBatches(batches, device).at),
            "sent": _synchronised(lambda _, sent=sent: next(sent)),
            "float_sent": _synchronised(lambda step, batches=batches: [side.to(device) for side in batches.at(step)]),
        }
        rates = _measure(groups, options.seconds)
        figures[f"patch_{patch}"] = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    figures["ratio"] = min(
        figures[f"patch_{patch}"]["resident"] / figures[f"patch_{patch}"]["float_sent"] for patch in (128, 256)
    )
    print(json.dumps(figures))


def _synchronised(make: Make) -> Make:
    def made(step: int) -> None:
        make(step)
        torch.cuda.synchronize()

    return made


def _peer_libraries() -> tuple[Any, Any]:
    try:
        import cv2
        import lmdb
    except ImportError as error:
        sys.exit(f"the peer needs OpenCV and LMDB ({error}); install the extra: pip install -e .[benchmarks]")
    return cv2, lmdb


def _use_one_core(cv2: Any) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _write_images(place: Path, folder: Path | None, cv2: Any) -> tuple[str, int]:
    """Write HR and LQ images as PNG, a store and a file of raw pixels; return the images' source and number."""
    photographs = _photographs(folder)
    (place / "HR").mkdir()
    (place / "LRx4").mkdir()
    for number, image in enumerate(photographs[1]):
        cv2.imwrite(str(place / "HR" / f"{number:04}.png"), image[:, :, ::-1])
    from study.data.packing import pack, plan_pack
    from study.data.store import open_store

    # The store makes the LQ images, so that all groups read the same pixels.
    pack(plan_pack([place / "HR"], scale=SCALE, name="benchmark"), place / "store.arrow", jobs=1)
    pairs = make_pairs(open_store(place / "store.arrow").image_set(), SCALE)
    for name, lq in zip(pairs.names, pairs.lq, strict=True):
        cv2.imwrite(str(place / "LRx4" / f"{name}.png"), np.ascontiguousarray(lq[:, :, ::-1]))
    for side, images in (("hr", pairs.hr), ("lq", pairs.lq)):
        (place / f"{side}.raw").write_bytes(b"".join(np.ascontiguousarray(image).tobytes() for image in images))
    return photographs[0], len(photographs[1])


def _photographs(folder: Path | None) -> tuple[str, list[np.ndarray]]:
    shared = Path(__file__).resolve().parents[2] / "shared" / "data" / "BSDS500" / "train"
    if folder is None and not shared.is_dir():
        from study.data import photographs

        training, held_out = photographs()
        tiles = [tile for images in (training, held_out) for image in images.images for tile in _tiles(image)]
        return "tiles of the built-in photographs", tiles
    images = [read_image(path) for path in list_images(folder or shared)]
    upright = [image if image.shape[1] >= image.shape[0] else image.transpose(1, 0, 2) for image in images]
    return (folder or shared).name, [tile for image in upright for tile in _tiles(image)]


def _tiles(image: np.ndarray) -> list[np.ndarray]:
    rows, columns = range(0, image.shape[0] - HEIGHT + 1, HEIGHT), range(0, image.shape[1] - WIDTH + 1, WIDTH)
    return [np.ascontiguousarray(image[y : y + HEIGHT, x : x + WIDTH]) for y in rows for x in columns]


def _write_lmdb(place: Path, lmdb: Any) -> None:
    for side in ("HR", "LRx4"):
        environment = lmdb.open(str(place / f"{side}.lmdb"), map_size=2**32)
        with environment.begin(write=True) as transaction:
            for path in list_images(place / side):
                transaction.put(path.stem.encode(), path.read_bytes())
        environment.close()


def _groups(place: Path, patch: int, cv2: Any, lmdb: Any) -> dict[str, Make]:
    from study.data.store import open_store

    batches = Batches(
        make_pairs(open_store(place / "store.arrow").image_set(), SCALE), patch=patch, batch=BATCH, seed=0
    )
    names = list(batches.pairs.names)
    environments = [
        lmdb.open(str(place / f"{side}.lmdb"), readonly=True, lock=False, readahead=False) for side in ("HR", "LRx4")
    ]

    def from_folder(name: str) -> list[bytes]:
        return [(place / side / f"{name}.png").read_bytes() for side in ("HR", "LRx4")]

    def from_lmdb(name: str) -> list[bytes]:
        contents = []
        for environment in environments:
            with environment.begin(write=False) as transaction:
                contents.append(transaction.get(name.encode()))
        return contents

    crop = _plain_crop(place, patch, len(names))
    return {
        "png": lambda _: _peer_batch(names, from_folder, patch, cv2),
        "lmdb": lambda _: _peer_batch(names, from_lmdb, patch, cv2),
        "ours": batches.at,
        "ours_uint8": batches.levels,
        "limit": lambda _: [crop() for _ in range(BATCH)],
        "float_limit": lambda _: _as_floats([crop() for _ in range(BATCH)]),
    }


def _peer_batch(names: list[str], read: Callable[[str], list[bytes]], patch: int, cv2: Any) -> Any:
    pairs = [_peer_pair(read(random.choice(names)), patch, cv2) for _ in range(BATCH)]
    return torch.stack([hr for hr, _ in pairs]), torch.stack([lq for _, lq in pairs])


def _peer_pair(contents: list[bytes], patch: int, cv2: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one item of the peer's data set: decode both whole images, crop, flip, transpose, convert."""
    hr, lq = (
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).astype(np.float32) / 255.0
        for content in contents
    )
    hr = hr[: hr.shape[0] // SCALE * SCALE, : hr.shape[1] // SCALE * SCALE]
    side = patch // SCALE
    top, left = random.randint(0, lq.shape[0] - side), random.randint(0, lq.shape[1] - side)
    patches = [
        hr[top * SCALE : top * SCALE + patch, left * SCALE : left * SCALE + patch],
        lq[top : top + side, left : left + side],
    ]
    mirrored, upside_down, turned = (random.random() < 0.5 for _ in range(3))
    tensors = []
    for image in patches:
        if mirrored:
            cv2.flip(image, 1, image)
        if upside_down:
            cv2.flip(image, 0, image)
        if turned:
            image = image.transpose(1, 0, 2)
        tensors.append(torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)).float())
    return tensors[0], tensors[1]


def _plain_crop(place: Path, patch: int, count: int) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    hr = np.memmap(place / "hr.raw", np.uint8, "r", shape=(count, HEIGHT, WIDTH, 3))
    lq = np.memmap(place / "lq.raw", np.uint8, "r", shape=(count, HEIGHT // SCALE, WIDTH // SCALE, 3))
    side = patch // SCALE

    def crop() -> tuple[np.ndarray, np.ndarray]:
        index = random.randrange(count)
        top, left = random.randint(0, HEIGHT // SCALE - side), random.randint(0, WIDTH // SCALE - side)
        return (
            np.array(hr[index, top * SCALE : top * SCALE + patch, left * SCALE : left * SCALE + patch]),
            np.array(lq[index, top : top + side, left : left + side]),
        )

    return crop


def _as_floats(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.stack(side)).to(torch.float32).div_(255) for side in zip(*pairs, strict=True)]


def _measure(groups: dict[str, Make], seconds: float) -> dict[str, list[float]]:
    """Measure all groups in turns, in slices of about 0.15 s; return patches a second by group and round."""
    for make in groups.values():
        for step in range(3):
            make(step)  # page in, verify, warm up
    rates: dict[str, list[float]] = {name: [] for name in groups}
    step, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, rates.values())) < 3:
        for name, make in groups.items():
            made, started = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - started) < 0.15:
                make(step)
                step, made = step + 1, made + BATCH
            rates[name].append(made / elapsed)
    return rates


def _print(patch: int, rates: dict[str, list[float]]) -> dict[str, float]:
    figures = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    peer = max(("png", "lmdb"), key=figures.__getitem__)
    shares = {
        "ratio": ("ours", peer),
        "ratio_as_uint8": ("ours_uint8", peer),
        "share_of_limit": ("ours", "float_limit"),
        "share_of_uint8_limit": ("ours_uint8", "limit"),
        "share_of_uint8_limit_as_float": ("ours", "limit"),
    }
    print(f"\nHR patch {patch}: patches per second, median of {len(rates['ours'])} rounds")
    for name, value in figures.items():
        print(f"  {name:32}{value:10,.0f}")
    for name, (mine, theirs) in shares.items():
        figures[name] = round(statistics.median(a / b for a, b in zip(rates[mine], rates[theirs], strict=True)), 3)
        print(f"  {name:32}{figures[name]:10.2f}   {mine} / {theirs}")
    return figures


if __name__ == "__main__":
    main()
