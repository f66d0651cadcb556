"""The options of study/evaluate.py."""

import argparse
from pathlib import Path

from study.command_parser import CommandParser, add_renamed_options
from study.evaluation.tables import WRITERS
from study.files import check_writable
from study.metrics import METRICS
from study.record.directory import check_not_recorded


def parse(arguments: list[str], description: str | None) -> argparse.Namespace:
    """Parse the command line; exit with an error message where options contradict each other.

    Raises:
        StorageError, OccupiedError: an output cannot be written, or would replace what a study recorded.
    """
    parser = CommandParser(prog="study/evaluate.py", description=description)
    parser.add_argument("systems", nargs="*", metavar="WEIGHTS|IMAGES", help="systems to evaluate; one row each")
    parser.add_argument(
        "--hr",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder, LMDB or store per set, or one folder of sets",
    )
    parser.add_argument(
        "--lq", nargs="+", type=Path, default=[], metavar="DIR", help="low-quality images, a folder or `made` a set "
        "(default: those beside HR, else made by MATLAB's bicubic)",
    )  # fmt: skip
    parser.add_argument(
        "--name", action="append", default=[], metavar="NAME", help="a set of the folder, or the name of each --hr"
    )
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help=f"all, or some of {', '.join(METRICS)}")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with published backbone weights")
    parser.add_argument("--autoencoder", type=Path, metavar="FILE", help="auto-encoder of AE-PSNR")
    parser.add_argument("--scale", type=int, choices=[1, 2, 3, 4], help="SR factor of ambiguous weights (default: 4)")
    parser.add_argument("--recipe", metavar="NAME[:SIZE]", help="recipe of the weight files' generator")
    parser.add_argument(
        "--interpolate", nargs=2, type=Path, metavar=("A", "B"), help="interpolate the weights of two files"
    )
    parser.add_argument(
        "--alphas",
        nargs="+",
        type=float,
        metavar="SHARE",
        help="of B in interpolations (default: 0 0.25 0.5 0.75 1)",
    )
    parser.add_argument("--output", action="append", type=Path, default=[], metavar="FILE", help="write the table: "
                        f"{', '.join(WRITERS)}; may be repeated")  # fmt: skip
    parser.add_argument("--per-image", type=Path, metavar="FILE", help="a CSV with a row per model, set and image")
    parser.add_argument("--save-images", type=Path, metavar="DIR", help="write the SR images: DIR/MODEL/SET/IMAGE.png")
    parser.add_argument("--tile", type=int, metavar="PX", help="cut LR images into tiles, rounded up "
                        "to a multiple of 16 (default: to fit the memory)")  # fmt: skip
    parser.add_argument(
        "--overlap",
        type=int,
        metavar="PX",
        help="of tiles in LR pixels (default: the receptive field)",
    )
    parser.add_argument("--memory", type=float, metavar="GIB", help="networks and metrics take a quarter of this")
    add_renamed_options(parser, {"--set": "--name", "--lr": "--lq", "--out": "--output"})
    options = parser.parse_args(arguments)
    _check_options(parser, options)
    return options


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not options.systems and options.interpolate is None:
        parser.error("name weights or folders of images to evaluate, or two weight files with --interpolate")
    if options.alphas and options.interpolate is None:
        parser.error("--alphas are shares of an interpolation: name its two weight files with --interpolate A B")
    if options.memory is not None and options.memory < 1:
        parser.error(f"--memory must be at least 1 GiB, but got {options.memory:g}")
    for path in options.output:
        if path.suffix not in WRITERS:
            parser.error(f"--output must end in {', '.join(WRITERS)}, but got {path}")
    if options.autoencoder and options.metrics and not {"all", "ae_psnr"} & set(options.metrics):
        parser.error("--autoencoder is for the metric ae_psnr, which is not in --metrics; add it, or leave it out")
    if options.recipe and options.interpolate is None and not any(Path(name).is_file() for name in options.systems):
        parser.error("--recipe describes weight files, but none is named; leave it out")
    if options.per_image in options.output:
        parser.error(f"--output and --per-image both name {options.per_image}; name another")
    if options.save_images is not None:
        _check_folder(parser, options)
    for path in [*options.output, *([options.per_image] if options.per_image else [])]:
        check_not_recorded(path, "--output" if path in options.output else "--per-image")
        if not path.resolve().parent.is_dir():
            parser.error(f"{path}: there is no folder {path.resolve().parent}; create it")
        check_writable(path, "--output" if path in options.output else "--per-image")


def _check_folder(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Check that the SR images go to a folder of their own: not among images that are read, nor a study's files."""
    check_not_recorded(options.save_images, "--save-images")
    read = [*options.hr, *options.lq, *(Path(name) for name in options.systems if Path(name).is_dir())]
    for folder in read:
        if options.save_images.resolve().is_relative_to(folder.resolve()):
            parser.error(
                f"--save-images {options.save_images} is in {folder}, whose images are read here, and would be read "
                "with them later; name another folder"
            )
