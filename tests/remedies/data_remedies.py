"""What the messages about images, stores and test sets advise."""

import shutil
from pathlib import Path

import pytest

from study import sweep
from study.config import DataConfig, LargestPatch
from study.data import images as image_module
from study.data import sources
from study.data.remote import CACHE_VARIABLE, check_no_secrets, local_copy
from study.data.sources import load_source
from study.data.store import open_store
from tests.remedies.pairs import (
    Act,
    Pair,
    evaluating,
    pair,
    preparing,
    words,
    write_images,
)

PACK = "pack PLACE/images --output PLACE/images.arrow"
SMALL_PATCHES = """
from search_spaces.quick import *

PATCHES = {4: [32]}


def sample(trial, base):
    return {"budget.patch": trial.suggest_categorical("budget.patch", PATCHES[4])}
"""


def images(folder: str, count: int = 6, side: int = 96, first: int = 0) -> Act:
    """Return: write images."""
    return lambda place: write_images(place / folder, count, side, first)


def made(*acts: Act) -> Act:
    """Return: some acts, one after the other."""

    def all_of(place: Path) -> object:
        return [act(place) for act in acts][-1]

    return all_of


def loading(**data: object) -> Act:
    """Return: load a source's images for a run; returns their notes."""

    def act(place: Path) -> str:
        texts = {name: str(value).replace("PLACE", str(place)) for name, value in data.items()}
        config = DataConfig.model_validate(texts | {"scale": int(texts.get("scale", 4))})
        loaded = load_source(config, LargestPatch(32, "budget.patch"))
        return "\n".join(note for each in loaded for note in each.notes)

    return act


def write_space(place: Path) -> None:
    """Write a space that draws smaller patches."""
    (place / "small.py").write_text(SMALL_PATCHES)


def opened(line: str) -> Act:
    """Return: check a command line of study/train.py and load its images."""

    def act(place: Path) -> str:
        from rich.console import Console

        from study import train

        options = train._parse([*words(line, place), "--output", str(place / "run")])
        config, until = train._configuration(options, Console(soft_wrap=True))
        loaded = load_source(config.data, config.largest_patch(until))
        return "\n".join(note for each in loaded for note in each.notes)

    return act


def caching_in(name: str, act: Act) -> Act:
    """Return: an act with another folder for local copies."""

    def inside(place: Path) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(CACHE_VARIABLE, str(place / name))
            return act(place)

    return inside


def copying(place: Path) -> object:
    """Copy a store to this machine."""
    return local_copy((place / "images.arrow").as_uri())


def without_room(act: Act) -> Act:
    """Return: an act on a disk with a byte of room, but in the folder "large"."""

    def inside(place: Path) -> object:
        usage = shutil.disk_usage(place)
        with pytest.MonkeyPatch.context() as patch:
            full = lambda path: usage if "large" in str(path) else usage._replace(free=1)  # noqa: E731
            patch.setattr(shutil, "disk_usage", full)
            return act(place)

    return inside


def with_small_images_alone(act: Act) -> Act:
    """Return: an act that may read no image of more than 90 x 90 px at once."""

    def inside(place: Path) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(image_module, "MAX_PIXELS", 90 * 90)
            return act(place)

    return inside


def with_little_memory(act: Act) -> Act:
    """Return: an act that may hold no image in memory."""

    def inside(place: Path) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sources, "_MEMORY_SHARE", 0.0)
            return act(place)

    return inside


HR, LQ, LQ2 = images("set/HR"), images("set/LRx4", side=24), images("set/LRx4", side=48)
TINY = "aesop --size tiny --set loss.perceptual=0"

PAIRS: list[Pair] = [
    # A folder of images
    pair(
        "by --set {",
        made(images("a", side=60), opened(f"{TINY} --data PLACE/a")),
        opened(f"{TINY} --data PLACE/a --set autoencoder.budget.patch=32 --set budget.patch=32"),
        made(images("a", side=96, first=6), opened(f"{TINY} --data PLACE/a")),
    ),
    pair(
        "in the search space, which draws it",
        made(images("images", side=60), lambda place: starting_in(place, "quick")),
        made(write_space, lambda place: starting_in(place, "PLACE/small.py --set budget.patch=32")),
        made(images("images", side=96, first=6), lambda place: starting_in(place, "quick")),
    ),
    pair(
        "or name a validation source with --val",
        made(images("a", 1), opened(f"{TINY} --data PLACE/a")),
        made(images("b", 1, first=1), opened(f"{TINY} --data PLACE/a --val PLACE/b")),
        made(images("a", 2), opened(f"{TINY} --data PLACE/a")),
    ),
    pair(
        "pack them into a store, which is read from the disk",
        made(images("images"), with_little_memory(loading(train="PLACE/images"))),
        made(preparing(PACK), with_little_memory(loading(train="PLACE/images.arrow"))),
    ),
    pair(
        "python study/prepare.py pack {",
        made(images("images"), with_small_images_alone(loading(train="PLACE/images"))),
        with_small_images_alone(made(preparing(PACK), loading(train="PLACE/images.arrow"))),
    ),
    pair(
        "data.val_lq names {",
        made(HR, LQ, opened(f"{TINY} --val-lq PLACE/set/LRx4")),
        opened(f"{TINY} --val-lq PLACE/set/LRx4 --val PLACE/set/HR"),
    ),
    pair(
        "is no folder of HR images; leave {option} out",
        made(LQ, opened(f"{TINY} --lq PLACE/set/LRx4")),
        opened(TINY),
    ),
    # Low-quality images
    pair(
        "{option} {MADE} makes them of the HR images instead",
        made(HR, LQ, opened(f"{TINY} --data PLACE/set/HR")),
        opened(f"{TINY} --data PLACE/set/HR --lq made"),
    ),
    pair(
        ("to have these made of the HR images, give {option}", "choose the scale of the low-quality images"),
        made(HR, LQ2, opened(f"{TINY} --data PLACE/set/HR")),
        opened(f"{TINY} --data PLACE/set/HR --lq made"),
        made(images("set/LRx2", side=48), opened(f"{TINY} --data PLACE/set/HR --scale 2")),
    ),
    pair(
        "or have them made of the HR images",
        made(HR, LQ2, opened(f"{TINY} --val PLACE/set/HR")),
        opened(f"{TINY} --val PLACE/set/HR --val-lq made"),
    ),
    pair(
        ("no low-quality images of scale {", "makes them without this note"),
        made(HR, images("set/LRx2", side=48), opened(f"{TINY} --data PLACE/set/HR")),
        opened(f"{TINY} --data PLACE/set/HR --lq made"),
        made(images("other", side=24), opened(f"{TINY} --data PLACE/set/HR --lq PLACE/other")),
    ),
    pair(
        "there are low-quality images in {",
        made(HR, LQ, images("t/HR", first=6), preparing("pack PLACE/set/HR PLACE/t/HR --output PLACE/s.arrow")),
        preparing("pack PLACE/set/HR PLACE/t/HR --output PLACE/s.arrow --degradation bicubic"),
        made(images("t/LRx4", side=24, first=6), preparing("pack PLACE/set/HR PLACE/t/HR --output PLACE/t.arrow")),
    ),
    # Packing
    pair(
        ("--degradation bicubic makes the low-quality ones", "choose the scale of the low-quality images"),
        made(HR, LQ2, preparing("pack PLACE/set/HR --output PLACE/a.arrow")),
        preparing("pack PLACE/set/HR --output PLACE/a.arrow --degradation bicubic"),
        made(images("set/LRx2", side=48), preparing("pack PLACE/set/HR --output PLACE/b.arrow --scale 2")),
    ),
    pair(
        "images under no known name: --name {CUSTOM}",
        made(images("Set5"), preparing("pack PLACE/Set5 --output PLACE/a.arrow")),
        preparing("pack PLACE/Set5 --output PLACE/a.arrow --name custom"),
    ),
    pair(
        "name another file as --output, or remove it",
        made(images("images"), preparing(PACK), preparing(f"{PACK} --scale 2")),
        preparing("pack PLACE/images --output PLACE/other.arrow --scale 2"),
        made(lambda place: (place / "images.arrow").unlink(), preparing(f"{PACK} --scale 2")),
    ),
    pair(
        "{error}; or name another file as --output",
        made(images("images"), lambda place: (place / "images.arrow").write_text("x"), preparing(PACK)),
        preparing("pack PLACE/images --output PLACE/other.arrow"),
    ),
    # Stores
    pair(
        "; set data.scale={",
        made(
            images("images"),
            preparing(f"{PACK} --scale 2 --degradation noise:25"),
            opened(f"{TINY} --data PLACE/images.arrow"),
        ),
        opened(f"{TINY} --data PLACE/images.arrow --set data.scale=2"),
        made(
            preparing("pack PLACE/images --output PLACE/other.arrow --scale 4 --degradation noise:25"),
            opened(f"{TINY} --data PLACE/other.arrow"),
        ),
    ),
    pair(
        "there is no such store; check the path, or pack one",
        preparing("info PLACE/images.arrow"),
        made(images("images"), preparing(PACK), preparing("info PLACE/images.arrow")),
    ),
    pair(
        "pack the images first: study/prepare.py pack DIR --output STORE",
        made(images("images"), preparing("info PLACE/images/0000.png")),
        made(preparing("pack PLACE/images --output PLACE/a.arrow"), preparing("info PLACE/a.arrow")),
    ),
    pair(
        "this Arrow file is no image store",
        lambda place: other_arrow(place),
        made(images("images"), preparing("pack PLACE/images --output PLACE/a.arrow"), preparing("info PLACE/a.arrow")),
    ),
    pair(
        "train on it: --data {",
        made(images("images"), preparing(PACK)),
        made(opened(f"{TINY} --data PLACE/images.arrow")),
    ),
    pair(
        "pack it into one store and name that",
        made(images("images"), lambda place: local_copy((place / "images").as_uri())),
        made(preparing(PACK), caching_in("cache", copying)),
    ),
    pair(
        "cannot be used for local copies",
        made(images("images"), preparing(PACK), caching_in("images.arrow/cache", copying)),
        caching_in("cache", copying),
    ),
    pair(
        "do not fit into {",
        made(images("images"), preparing(PACK), without_room(caching_in("cache", copying))),
        without_room(caching_in("large", copying)),
    ),
    pair(
        "environment variables such as AWS_ACCESS_KEY_ID",
        lambda _: check_no_secrets("s3://me:secret@bucket/a.arrow"),
        lambda _: check_no_secrets("s3://bucket/a.arrow"),
    ),
    # Test sets
    pair(
        "to have these made of the HR images, give --lq",
        made(HR, LQ2, images("sr"), evaluating("PLACE/sr --hr PLACE/set/HR --metrics psnr_y")),
        evaluating("PLACE/sr --hr PLACE/set/HR --metrics psnr_y --lq made"),
    ),
    pair(
        "two sets are called {name}",
        made(
            images("a/HR"),
            images("b/HR"),
            images("sr/one"),
            images("sr/two"),
            evaluating("PLACE/sr --hr PLACE/a PLACE/a --metrics psnr_y"),
        ),
        evaluating("PLACE/sr --hr PLACE/a PLACE/a --metrics psnr_y --name one --name two"),
    ),
    pair(
        "at scale 1 the low-quality images must be given",
        made(images("images"), images("sr"), evaluating("PLACE/sr --hr PLACE/images --scale 1 --metrics psnr_y")),
        made(images("noisy"), evaluating("PLACE/sr --hr PLACE/images --scale 1 --metrics psnr_y --lq PLACE/noisy")),
        made(
            preparing(f"{PACK} --scale 1 --degradation noise:25"),
            evaluating("PLACE/sr --hr PLACE/images.arrow --scale 1 --metrics psnr_y"),
        ),
    ),
    pair(
        "--lq must name one folder for each of --hr",
        made(
            images("a"),
            images("b"),
            images("sr/a"),
            images("sr/b"),
            images("q", side=24),
            evaluating("PLACE/sr --hr PLACE/a PLACE/b --lq PLACE/q --metrics psnr_y"),
        ),
        evaluating("PLACE/sr --hr PLACE/a PLACE/b --lq PLACE/q PLACE/q --metrics psnr_y"),
    ),
    pair(
        "--name must name folders below one --hr",
        made(
            images("a"),
            images("b"),
            images("sr/a"),
            images("sr/b"),
            evaluating("PLACE/sr --hr PLACE/a PLACE/b --name a --metrics psnr_y"),
        ),
        evaluating("PLACE/sr --hr PLACE/a PLACE/b --name a --name b --metrics psnr_y"),
    ),
    pair(
        "which has its own low-quality images; name its HR folder",
        made(
            HR,
            LQ,
            images("images"),
            images("sr"),
            preparing(PACK),
            evaluating("PLACE/sr --hr PLACE/images.arrow --lq PLACE/set/LRx4 --metrics psnr_y"),
        ),
        evaluating("PLACE/sr --hr PLACE/images --lq PLACE/set/LRx4 --metrics psnr_y"),
    ),
    pair(
        "--tile and --overlap had no effect",
        made(images("images"), images("sr"), evaluating("PLACE/sr --hr PLACE/images --metrics psnr_y --tile 32")),
        evaluating("PLACE/sr --hr PLACE/images --metrics psnr_y"),
    ),
    pair(
        "are neither in --weights nor in torch's cache",
        made(images("images"), images("sr"), evaluating("PLACE/sr --hr PLACE/images --metrics lpips_alex")),
        evaluating("PLACE/sr --hr PLACE/images --metrics psnr_y"),
    ),
]


def starting_in(place: Path, space: str) -> str:
    """Check a study on PLACE/images up to its opened images."""
    from rich.console import Console

    options = sweep._parse(
        words(f"--space {space} --set autoencoder.budget.patch=32 --data PLACE/images --output PLACE/run", place)
    )
    study, _ = sweep.prepare(options, {}, Console(soft_wrap=True))
    return "\n".join(study.notes)


def other_arrow(place: Path) -> object:
    """Describe an Arrow file of something else."""
    import pyarrow as pa

    table = pa.table({"a": [1]})
    with pa.OSFile(str(place / "other.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return open_store(place / "other.arrow")
