"""What the messages about weights, training, records and reports advise."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from analysis import report
from analysis.figures.saved import SavedFigures
from analysis.reference import artifact_networks, loss_landscape, texture_penalty
from analysis.statistics.compute import compute_statistics
from analysis.statistics.limits import limits
from analysis.statistics.tables import load_results
from study import train
from study.config import DataConfig, LargestPatch
from study.config import replace as replace_fields
from study.config.recipes import get_recipe
from study.data.sources import load_source
from study.evaluation.systems import open_checkpoint
from study.files import write_checked_json
from study.losses.custom import load_custom_loss, read_custom_loss
from study.models.autoencoder import Autoencoder
from study.models.build import build_generator
from study.models.identify import identify
from study.models.msrresnet import MSRResNet
from study.models.rrdb import RRDBNet
from study.models.weights import save_weights
from study.record.directory import check_output
from study.record.metadata import read_metadata
from study.record.paths import RunDirectory
from study.record.tables import POINTS, read_table
from study.training.evaluation import spacing_note
from study.training.preflight import find_networks, read_custom_losses
from study.training.stages.adversarial import export_generator
from study.training.stages.artifacts import make_artifact
from study.training.stages.critic_training import training_image
from tests.analysis.made_events import end, metadata_of, point, reference, trial, write_study
from tests.config.test_basicsr import ldl, psnr_file
from tests.remedies.pairs import (
    Act,
    Pair,
    evaluating,
    pair,
    parsing,
    training,
    with_images,
    words,
    write_images,
)

TINY = "aesop --size tiny --set loss.perceptual=0 --data PLACE/images"
SCORE = "--hr PLACE/images --metrics psnr_y"


def made(*acts: Act) -> Act:
    """Return: some acts, one after the other."""

    def all_of(place: Path) -> object:
        return [act(place) for act in acts][-1]

    return all_of


def fidelity_stage(line: str) -> Act:
    """Return: train the fidelity stage of a command line of study/train.py."""

    def act(place: Path) -> None:
        options = train._parse([*words(line, place), "--output", str(place / "run")])
        config, until = train._configuration(options, Console(soft_wrap=True))
        context = train._context_spec(config, until, options).open()
        list(make_artifact(config, "fidelity", context, RunDirectory(place / "run"), None))

    return act


def option_file(name: str, **changes: object) -> Act:
    """Return: write LDL's option file with values changed; `a.b` is given as a__b."""

    def act(place: Path) -> None:
        options = ldl()
        network("initial.pth")(place)
        options["path"]["pretrain_network_g"] = str(place / "initial.pth")
        for path, value in changes.items():
            *parents, key = path.split("__")
            node = options
            for parent in parents:
                node = node[parent]
            node[key] = value
        (place / name).write_text(yaml.safe_dump(options))

    return act


def network(name: str, scale: int = 4, features: int = 8, blocks: int = 1) -> Act:
    """Return: write the weights of a small network."""
    return lambda place: save_weights(MSRResNet(features, blocks, scale), place / name)


def study(place: Path) -> None:
    """Write the run directory of a small study: one trial of two points, one of one point."""

    metadata = metadata_of({"size": "tiny"}, search=replace(metadata_of({}).search, groups=("recipe",)))
    events = [reference("bicubic", "bicubic", 25.0, 30.0)]
    for number, points in enumerate((2, 1)):
        events += [trial(number, {"size": "tiny", "recipe": ("aesop", "esrgan")[number]})]
        reached = range(1, points + 1)
        events += [point(number, 10 * at, 26.0 + at, 20.0 + number, images=by_image(at)) for at in reached]
        events += [end(number)]
    write_study(place / "study", metadata, events)


def by_image(at: int) -> dict[str, dict[str, float]]:
    """Return metrics of three images."""
    return {name: {"psnr_y": 26.0 + at, "swd": 20.0} for name in ("astronaut", "chelsea", "coffee")}


def reporting(line: str) -> Act:
    """Return: run analysis/report.py on the study."""

    def act(place: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:  # figures and the page take seconds
            patch.setattr(report, "render_page", lambda *_, **__: "")
            patch.setattr(report, "save_figures", lambda *_: SavedFigures({}, ()))
            if report.main(words(line, place)):
                raise ValueError("no report")

    return act


def caveats(place: Path, options: report.Options) -> str:
    """Return what the report says about the limits of the study's results."""
    results = report._selected(load_results(place / "study"), options)
    return " ".join(limits(results, compute_statistics(results)))


def shorten(place: Path) -> None:
    """Cut the journal to its first half."""
    journal = RunDirectory(place / "study").journal
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: len(lines) // 2]))


def write(name: str, text: str) -> Act:
    """Return: write a file."""

    def act(place: Path) -> None:
        (place / name).write_text(text)

    return act


LOSS = "def loss(sr, hr, lq):\n    return (sr - hr).abs().mean(dim=(1, 2, 3))\n"


def custom(place: Path) -> object:
    """Read a custom loss of which the hash was computed before."""
    return read_custom_loss(f"{place}/my_loss.py@sha256:{'0' * 64}")


def loaded_custom(place: Path) -> object:
    """Load the custom loss that a command line names."""
    line = f"aesop --size tiny --set loss.guidance=custom --set loss.custom={place}/my_loss.py --output {place}/run"
    config, _ = train._configuration(train._parse(line.split()), Console(soft_wrap=True))
    return load_custom_loss(str(config.loss.custom), read_custom_losses([config]))


def exported(**changes: object) -> Act:
    """Return: export a point of a tiny run with fields changed."""
    config = replace_fields(get_recipe("aesop", "tiny"), changes)

    def act(place: Path) -> object:
        save_weights(build_generator(config.generator, config.data.scale), place / "point.safetensors", layout="plain")
        return export_generator(config, place / "point.safetensors", place / "out.pth")

    return act


def tensors(name: str, state: dict[str, torch.Tensor]) -> Act:
    """Return: write a weight file."""
    return lambda place: torch.save(state, place / name)


def upscaler(place: Path) -> None:
    """Write weights of a SwinIR at scale 4, which only spandrel recognises."""
    config = replace_fields(get_recipe("swinir-aesop", "tiny"), {})
    save_weights(build_generator(config.generator, 4), place / "foreign.pth")


def ambiguous(place: Path) -> None:
    """Write weights that fit scale 2 and 3: nearest-neighbour steps have no weights."""
    save_weights(RRDBNet(features=8, blocks=1, growth=4, scale=3), place / "a.pth")


def see_which(place: Path) -> None:
    """Name a recipe to see which entries do not fit it."""
    with pytest.raises(ValueError, match="unexpected"):
        open_checkpoint(place / "cut.pth", "esrgan:tiny", 4)


def autoencoder(place: Path) -> None:
    """Write an artifact with a small auto-encoder."""
    settings = {"features": 8, "blocks": 1, "growth": 4}
    (place / "ae").mkdir()
    write_checked_json(place / "ae/config.json", {"part": settings})
    save_weights(Autoencoder(**settings), place / "ae/weights.safetensors", layout="plain")


def recipes_weights(place: Path) -> None:
    """Write weights of a recipe's generator."""
    config = get_recipe("aesop", "tiny")
    save_weights(build_generator(config.generator, config.data.scale), place / "recipe.pth")


def batch_of(place: Path, line: str) -> None:
    """Check that a command line gives the batch that it sets."""
    options = train._parse([*words(line, place), "--output", str(place / "run")])
    assert train._configuration(options, Console(file=io.StringIO()))[0].budget.batch == 64


def critics(changes: dict[str, object], side: int = 96) -> Act:
    """Return: look for the training image of MDF's critics."""

    def act(place: Path) -> object:
        write_images(place / f"{side}", 2, side)
        data = DataConfig(train=str(place / f"{side}"), train_lq="made")
        images, _ = load_source(data.model_copy(update={"val": "photographs"}), LargestPatch(4, "budget.patch"))
        return training_image(replace_fields(get_recipe("mdf", "tiny"), changes), images)

    return act


def spacing(changes: dict[str, object], images: int = 12) -> Act:
    """Return: the note on the spacing of points."""

    def act(place: Path) -> str:
        write_images(place / f"{images}", images)
        _, val = load_source(DataConfig(val=str(place / f"{images}")), LargestPatch(4, "budget.patch"))
        return " ".join(spacing_note(replace_fields(get_recipe("aesop", "tiny"), changes), val))

    return act


def copy_of_astronaut(place: Path) -> None:
    """Write a folder with one of the study's validation images."""
    write_images(place / "some", 1)
    (place / "some/0000.png").rename(place / "some/astronaut.png")


def penalty(line: str) -> Act:
    """Return: read the command line of the texture figure."""
    return parsing(texture_penalty._parse, f"PLACE/ae.pth --hr PLACE {line}")


FIDELITY = f"{TINY} --until fidelity --set fidelity.budget.iterations=10 --set fidelity.optimiser.ema_decay=0.9"
WARMED = "--set fidelity.optimiser.learning_rate=1 --set fidelity.optimiser.warmup=1000000"

PAIRS: list[Pair] = [
    # Option files
    pair(
        ("this training would not be that of {", "datasets.val.dataroot_lq: {"),
        made(option_file("a.yml", datasets__val={"dataroot_lq": "LR"}), training("--basicsr PLACE/a.yml")),
        training("--basicsr PLACE/a.yml --accept-differences"),
        made(option_file("a.yml"), training("--basicsr PLACE/a.yml")),
    ),
    pair(
        ("stage {}: not in the file; here it has", "=FILE names weights in its place"),
        made(
            network("initial.pth"),
            lambda place: (place / "a.yml").write_text(yaml.safe_dump(psnr_file())),
            training("--basicsr PLACE/a.yml --until autoencoder"),
        ),
        training("--basicsr PLACE/a.yml --until autoencoder --set autoencoder.init=PLACE/initial.pth"),
        training("--basicsr PLACE/a.yml"),
    ),
    pair(
        "--size is an option of recipes",
        made(option_file("a.yml"), training("--basicsr PLACE/a.yml --size tiny")),
        training("--basicsr PLACE/a.yml"),
    ),
    pair(
        "--basicsr takes an option file",
        training("--basicsr PLACE/a.yml"),
        made(option_file("a.yml"), training("--basicsr PLACE/a.yml")),
    ),
    pair(
        "write the values that it needs without aliases",
        made(
            write("a.yml", f"model_type: X\na: &a [{'1, ' * 99}]\nb: &b [{'*a, ' * 99}]\nc: [{'*b, ' * 99}]\n"),
            training("--basicsr PLACE/a.yml"),
        ),
        made(option_file("a.yml"), training("--basicsr PLACE/a.yml")),
    ),
    pair(
        "num_gpu: {",
        made(option_file("a.yml", num_gpu="auto"), training("--basicsr PLACE/a.yml")),
        lambda place: batch_of(place, "--basicsr PLACE/a.yml --set budget.batch=64"),
    ),
    # Weights
    pair(
        "--weights must name a directory",
        lambda place: find_networks(["vgg19"], place / "none"),
        lambda place: find_networks(["vgg19"], place),
    ),
    pair(
        "its weights fit scale {scales}",
        made(with_images(ambiguous), evaluating(f"PLACE/a.pth {SCORE}")),
        evaluating(f"PLACE/a.pth {SCORE} --scale 2"),
    ),
    pair(
        "correct --scale",
        made(upscaler, lambda place: str(identify(place / "foreign.pth", 3))),
        lambda place: str(identify(place / "foreign.pth", 4)),
    ),
    pair(
        "no network is known whose weights have these names",
        made(tensors("a.pth", {"some.weight": torch.zeros(3)}), lambda place: str(identify(place / "a.pth"))),
        made(recipes_weights, with_images(evaluating(f"PLACE/recipe.pth {SCORE} --recipe aesop:tiny"))),
    ),
    pair(
        "entries or shapes that do not fit one",
        made(
            tensors("cut.pth", {"body.0.weight": torch.zeros(8, 3, 3, 3), "body.1.weight": torch.zeros(8)}),
            lambda place: str(identify(place / "cut.pth")),
        ),
        made(ambiguous, lambda place: str(identify(place / "a.pth", 3))),
        see_which,
    ),
    pair(
        "--interpolate needs networks of one scale",
        made(
            with_images(network("a.pth")),
            network("b.pth", 2),
            evaluating(f"--interpolate PLACE/a.pth PLACE/b.pth {SCORE}"),
        ),
        made(network("c.pth"), evaluating(f"--interpolate PLACE/a.pth PLACE/c.pth {SCORE}")),
    ),
    pair(
        "--interpolate {first} {second}: {error}",
        made(
            with_images(network("a.pth")),
            network("b.pth", features=16),
            evaluating(f"--interpolate PLACE/a.pth PLACE/b.pth {SCORE}"),
        ),
        made(network("c.pth"), evaluating(f"--interpolate PLACE/a.pth PLACE/c.pth {SCORE}")),
    ),
    pair(
        "it needs an auto-encoder: name one with --autoencoder",
        made(with_images(network("a.pth")), evaluating("PLACE/a.pth --hr PLACE/images --metrics ae_psnr")),
        made(
            autoencoder,
            evaluating("PLACE/a.pth --hr PLACE/images --metrics ae_psnr --autoencoder PLACE/ae"),
        ),
    ),
    pair(
        "; --overlap {",
        made(with_images(network("a.pth", blocks=8)), evaluating(f"PLACE/a.pth {SCORE} --tile 16 --overlap 1")),
        evaluating(f"PLACE/a.pth {SCORE} --tile 16 --overlap 19"),
    ),
    pair(
        "has: its weights would give wrong images there",
        exported(**{"generator.head": "sub-pixel"}),
        exported(),
    ),
    # Custom losses
    pair(
        "has changed since the command started",
        made(write("my_loss.py", LOSS), custom),
        lambda place: read_custom_loss(str(place / "my_loss.py")),
    ),
    pair(
        "loss.custom must name a Python file in UTF-8",
        custom,
        made(write("my_loss.py", LOSS), lambda place: read_custom_loss(str(place / "my_loss.py"))),
    ),
    pair(
        "which was not given to the command that runs",
        made(write("my_loss.py", LOSS), lambda place: load_custom_loss(f"{place}/my_loss.py@sha256:{'0' * 64}", {})),
        loaded_custom,
    ),
    # Training
    pair(
        ("lower {part}optimiser.learning_rate", "or raise {part}optimiser.warmup"),
        with_images(fidelity_stage(f"{FIDELITY} --set fidelity.optimiser.learning_rate=1e9 --artifacts PLACE/a")),
        fidelity_stage(f"{FIDELITY} --set fidelity.optimiser.learning_rate=1e-4 --artifacts PLACE/b"),
        fidelity_stage(f"{FIDELITY} {WARMED} --artifacts PLACE/c"),
    ),
    pair(
        ("critics.image must name a training image"),
        critics({"critics.image": "none"}),
        critics({"critics.image": "0000"}),
    ),
    pair(
        ("critics.image {name}: {error}", "choose a larger image, or lower critics.levels or critics.smallest_side"),
        critics({}, side=28),
        critics({}, side=96),
        critics({"critics.levels": 3, "critics.used_levels": 3}, side=28),
        critics({"critics.smallest_side": 11}, side=28),
    ),
    pair(
        "For more points, raise eval_schedule.evaluate_share or name a smaller --val",
        spacing({"eval_schedule.evaluate_share": 0.0001}),
        spacing({"eval_schedule.evaluate_share": 100.0}),
        spacing({"eval_schedule.evaluate_share": 0.1}, images=1),
    ),
    # Run directories and reports
    pair(
        "already; continue it with --resume, or name another --output",
        made(study, lambda place: check_output(place / "study", resume=False)),
        lambda place: check_output(place / "study", resume=True),
        lambda place: check_output(place / "other", resume=False),
    ),
    pair(
        "does not exist: give a directory that study/sweep.py wrote",
        lambda place: read_metadata(place / "study"),
        made(study, lambda place: read_metadata(place / "study")),
    ),
    pair(
        "make it with: python analysis/report.py {",
        made(study, lambda place: read_table(place / "study", POINTS)),
        made(reporting("PLACE/study"), lambda place: read_table(place / "study", POINTS)),
    ),
    pair(
        "nothing was overwritten. Restore the journal",
        made(study, reporting("PLACE/study"), shorten, reporting("PLACE/study")),
        reporting("PLACE/study --output PLACE/left"),
        made(lambda place: (place / "study/points.parquet").unlink(), reporting("PLACE/study")),
        made(study, reporting("PLACE/study")),
    ),
    pair(
        "Trials were evaluated unequally often",
        made(study, lambda place: caveats(place, report.Options())),
        lambda place: caveats(place, report.Options(last_points=True)),
    ),
    pair(
        "there is no such folder; name one that holds some validation images",
        made(study, reporting("PLACE/study --images PLACE/some --output PLACE/left")),
        made(copy_of_astronaut, reporting("PLACE/study --images PLACE/some --output PLACE/left")),
    ),
    pair(
        "--images {folder}: none of the study's",
        made(study, with_images(reporting("PLACE/study --images PLACE/images --output PLACE/left"))),
        made(copy_of_astronaut, reporting("PLACE/study --images PLACE/some --output PLACE/left")),
    ),
    # The figures of the documentation
    pair(
        "--side must be a multiple of {",
        parsing(loss_landscape._parse, "PLACE/a.png --side 7"),
        parsing(loss_landscape._parse, "PLACE/a.png --side 144"),
    ),
    pair(
        "--output must end in .png or .svg",
        parsing(loss_landscape._parse, "PLACE/a.png --output a.pdf"),
        parsing(loss_landscape._parse, "PLACE/a.png --output a.png"),
        parsing(loss_landscape._parse, "PLACE/a.png --output a.svg"),
    ),
    pair(
        "--iterations must be at least 1",
        parsing(loss_landscape._parse, "PLACE/a.png --iterations 0"),
        parsing(loss_landscape._parse, "PLACE/a.png --iterations 1"),
    ),
    pair(
        "smaller than the window of {side} px; lower --side",
        with_images(lambda place: loss_landscape._window(place / "images/0000.png", 144)),
        lambda place: loss_landscape._window(place / "images/0000.png", 96),
    ),
    pair(
        "--artifact takes a folder such as",
        lambda place: artifact_networks.artifact_part(place),
        made(
            write("config.json", '{"key": "critics-0123456789abcdef", "part": {}}'),
            lambda place: artifact_networks.artifact_part(place),
        ),
    ),
    pair("--side must be {rule}", penalty("--side 7"), penalty("--side 96")),
    pair("--max-images must be at least 1", penalty("--max-images 0"), penalty("--max-images 1")),
    pair("--amplitude must be above 0", penalty("--amplitude 0"), penalty("--amplitude 255")),
    pair(
        "does not exist; create it",
        penalty("--output PLACE/none/a.png"),
        made(lambda place: (place / "none").mkdir(), penalty("--output PLACE/none/a.png")),
    ),
]
