"""Export a trained generator: write a point's weights under the names of BasicSR, chaiNNer and the network's authors.

python study/export.py runs/aesop/trials/0007/points/0000160.safetensors --output aesop_x4.pth
"""

import argparse
import sys
from pathlib import Path

# Started as a script from a checkout that is not installed: Python looks in study/, but the packages are one up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console

from study.cli import run
from study.command_parser import CommandParser, add_renamed_options
from study.config import RunConfig
from study.files import check_writable
from study.record.config_files import read_run
from study.record.directory import check_not_recorded
from study.record.paths import CONFIG
from study.training.stages.adversarial import export_generator


def main(arguments: list[str], console: Console) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    check_writable(options.output, "--output")
    check_not_recorded(options.output, "--output")
    config = _config_of(options.weights)
    export_generator(config, options.weights, options.output)
    generator = config.generator
    console.print(
        f"{options.output}: {generator.name}, scale {config.data.scale}, {generator.features} features, "
        f"{generator.blocks} blocks, trained as {config.recipe}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = CommandParser(prog="study/export.py", description=__doc__)
    parser.add_argument("weights", type=Path, metavar="POINT", help="trials/NNNN/points/NNNNNNN.safetensors of a study")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .pth or .safetensors to write")
    add_renamed_options(parser, {"--out": "--output"})
    return parser.parse_args(arguments)


def _config_of(weights: Path) -> RunConfig:
    """Read the configuration beside a trial's points; ValueError if there is none."""
    path = weights.parent.parent / CONFIG
    if not weights.is_file() or not path.is_file():
        raise ValueError(
            f"{weights} is not a point of a trial; name a file in a trial's folder, such as "
            "runs/aesop/trials/0007/points/0000160.safetensors"
        )
    return read_run(path)


def command() -> None:
    """Run as `aesop-export`."""
    run(main)


if __name__ == "__main__":
    command()
