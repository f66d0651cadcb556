"""Open the systems to compare: weights of a study or of others, bicubic, folders of SR images, interpolations."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn

from study.config import AUTOENCODER_FIELDS, AutoencoderConfig, ConfigError, GeneratorConfig, RunConfig, from_dict
from study.config.recipes import get_recipe
from study.data import bicubic_upsample
from study.models import Autoencoder, load_weights
from study.models.backbones import file_digest
from study.models.build import build_autoencoder, build_generator
from study.models.identify import identify
from study.models.tiling import Upscaler
from study.models.weights import interpolate_states
from study.record.config_files import parse_part, read_fields, read_generator
from study.record.metadata import SINGLE_RUN
from study.record.paths import CONFIG, WEIGHTS, RunDirectory
from study.record.points import FidelityPoint, InterpolatedPoint, TrialPoint
from study.record.state import StudyRecord
from study.record.stored import read_study

log = logging.getLogger(__name__)

BICUBIC = "bicubic"


class UnknownSystem(ValueError):
    """A system that cannot be evaluated; the message names it, the rule and the remedy."""


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        name: of the row.
        scale: the SR factor; None for images.
        digest: first digits of the SHA-256 of its weight file, if it has one.
        upscale: LR images (1, 3, h, w) to SR images; None for images.
        images: folder of SR images, or of one folder per set; None for networks.
        settings: short description of the network.
        source: its file or folder; None for bicubic.
    """

    name: str
    scale: int | None
    digest: str = ""
    upscale: Callable[[Tensor], Tensor] | None = None
    images: Path | None = None
    settings: str = ""
    source: Path | None = None


@dataclass(frozen=True)
class Limits:
    """Device and memory of the networks.

    Attributes:
        device: of the computation.
        bytes: bound of a forward pass's memory.
        tile, overlap: in LR pixels; None to derive them from the bound.
    """

    device: torch.device
    bytes: int
    tile: int | None = None
    overlap: int | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A weight file with its network.

    Attributes:
        path: the file.
        generator: the network, with its weights, on the CPU.
        scale: its SR factor.
        name: for a row.
        settings: short description of the network.
    """

    path: Path
    generator: nn.Module
    scale: int
    name: str
    settings: str

    @property
    def digest(self) -> str:
        """First digits of the file's SHA-256."""
        return file_digest(self.path)[:12]


def open_systems(names: Sequence[str], limits: Limits, *, recipe: str | None, scale: int | None) -> list[System]:
    """Open the systems of a command line: one row each, or several for a study.

    Args:
        names: `bicubic`; weight files; folders of a study (its front), of a run or a trial (its last point), of an
            artifact; or folders of SR images.
        limits: device and memory of the networks.
        recipe: NAME or NAME:SIZE, for weight files whose network is ambiguous.
        scale: of `bicubic`, and of weight files whose scale is ambiguous.

    Raises:
        ValueError: one line for each name that cannot be opened.
    """
    opened: dict[int, list[System]] = {}
    problems = []
    for index, name in enumerate(names):
        if name == BICUBIC and not Path(name).exists():
            continue
        try:
            opened[index] = _open(Path(name), limits, recipe, scale)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise UnknownSystem("\n".join(["these cannot be evaluated:", *(f"  {problem}" for problem in problems)]))
    factor = common_scale([system for systems in opened.values() for system in systems], scale)
    bicubic = System(BICUBIC, factor, upscale=lambda lq: bicubic_upsample(lq, factor))
    return with_unique_names([system for index in range(len(names)) for system in opened.get(index, [bicubic])])


def common_scale(systems: Sequence[System], scale: int | None) -> int:
    """Return the SR factor of a table: that of the networks, else `scale`, else 4.

    Raises:
        UnknownSystem: networks of several factors, or of another one than `scale`.
    """
    factors = {system.scale: system.name for system in systems if system.scale is not None}
    if len(factors) > 1:
        named = ", ".join(f"{name} x{factor}" for factor, name in factors.items())
        raise UnknownSystem(f"one table has one scale, but these differ: {named}; evaluate them one scale at a time")
    factor = next(iter(factors), scale or 4)
    if scale not in (None, factor):
        raise UnknownSystem(f"--scale {scale} contradicts {factors[factor]}, which is x{factor}; leave --scale out")
    return factor


def open_interpolations(
    first: Path, second: Path, alphas: Sequence[float], limits: Limits, *, recipe: str | None, scale: int | None
) -> list[System]:
    """Interpolate the weights of two checkpoints of one architecture: (1 - alpha) * first + alpha * second.

    Raises:
        ValueError: networks of different architectures, or unreadable files.
    """
    a, b = (open_checkpoint(path, recipe, scale) for path in (first, second))
    if a.scale != b.scale:
        raise UnknownSystem(
            f"--interpolate needs networks of one scale, but {first} is x{a.scale} and {second} is x{b.scale}; "
            "choose another"
        )
    systems = []
    for alpha in alphas:
        try:
            state = interpolate_states(a.generator.state_dict(), b.generator.state_dict(), alpha)
        except ValueError as error:
            raise UnknownSystem(f"--interpolate {first} {second}: {error}") from error
        interpolated = open_checkpoint(first, recipe, scale)
        interpolated.generator.load_state_dict(state)
        name = f"{a.name} + {alpha:g} ({b.name} - {a.name})"
        systems.append(_network(name, interpolated, f"{a.digest}+{b.digest}", limits))
    return systems


def open_checkpoint(path: Path, recipe: str | None = None, scale: int | None = None) -> Checkpoint:
    """Read a weight file into its network.

    The architecture is that of `recipe`, of the configuration that a study stores beside the file, or of the names and
    shapes in the file.

    Raises:
        ValueError: naming the file and the mismatch.
    """
    if not path.is_file():
        raise UnknownSystem(f"{path}: no such file or folder; check the path")
    known = None if recipe is not None else _config_beside(path)
    if known is None and recipe is None:
        generator, factor, settings = identify(path, scale)
        return Checkpoint(path, generator.eval(), factor, path.stem, settings)
    config, factor = known if known is not None else _config_of(recipe or "", scale)
    return _open_network(path, config, factor, _row_name(path))


def open_autoencoder(path: Path) -> tuple[Autoencoder, str]:
    """Read the auto-encoder of AE-PSNR: an artifact's folder or file, or AESOP's released file.

    Returns:
        The frozen network, and the first digits of its file's SHA-256.

    Raises:
        ValueError: naming the file and the mismatch.
    """
    path = path / WEIGHTS if path.is_dir() else path
    if not path.is_file():
        raise UnknownSystem(f"{path}: no such file of an auto-encoder; name a weight file or an artifact's folder")
    beside = path.parent / CONFIG
    part = read_fields(beside, "part") if beside.is_file() else {}
    fields = {name: value for name, value in part.items() if name in AUTOENCODER_FIELDS}
    config = parse_part(beside, AutoencoderConfig, get_recipe("aesop").autoencoder.model_dump() | fields)
    autoencoder = build_autoencoder(config, scale_head=bool(part.get("scale_head")))
    load_weights(autoencoder, path)
    return autoencoder.eval().requires_grad_(False), file_digest(path)[:12]


def _open(path: Path, limits: Limits, recipe: str | None, scale: int | None) -> list[System]:
    if not path.is_dir():
        return [_as_system(open_checkpoint(path, recipe, scale), limits)]
    front = _front_of(path)
    if front:
        return [_as_system(checkpoint, limits) for checkpoint in front]
    for files in (_last_point_of(path), _artifact_of(path)):
        if files:
            return [_as_system(open_checkpoint(file), limits) for file in files]
    return [System(path.resolve().name, None, images=path, source=path)]


def _as_system(checkpoint: Checkpoint, limits: Limits) -> System:
    return _network(checkpoint.name, checkpoint, checkpoint.digest, limits)


def _network(name: str, checkpoint: Checkpoint, digest: str, limits: Limits) -> System:
    generator = checkpoint.generator.to(limits.device).to(memory_format=torch.channels_last)
    upscale = Upscaler(generator, checkpoint.scale, bound=limits.bytes, tile=limits.tile, overlap=limits.overlap)
    return System(name, checkpoint.scale, digest, upscale, settings=checkpoint.settings, source=checkpoint.path)


def _front_of(folder: Path) -> list[Checkpoint]:
    """Open the weights of a study's front, best in its first objective first; of a single run, its last point."""
    run = RunDirectory(folder)
    if not run.study.is_file() and not run.journal.is_file():
        return []
    stored = read_study(folder)  # refuses a study of another version
    for fault in stored.faults:
        log.warning("%s", fault)
    record = stored.record
    if stored.metadata.search.space == SINGLE_RUN:
        return [_last_of_run(folder, record)]
    members = record.fronts[-1].members if record.fronts else ()
    if not members:
        raise UnknownSystem(f"{folder}: this study has no front yet; name a trial's folder or a weight file")
    files = {member: run.weights(member) for member in members if not isinstance(member, FidelityPoint)}
    without = [member.label for member in members if member not in files or not files[member].is_file()]
    if without:
        log.warning("%s: left out of its front, no weights in this folder: %s", folder, ", ".join(without))
    return [_open_member(record, member, file) for member, file in files.items() if file.is_file()]


def _last_of_run(folder: Path, record: StudyRecord) -> Checkpoint:
    """Open the last point of a single run, named by its folder."""
    if not record.points:
        made = f", such as {list(record.last_artifacts)[-1]}" if record.last_artifacts else ""
        raise UnknownSystem(
            f"{folder}: this run has no point yet; name the folder of an artifact{made}, or a weight file"
        )
    last = max(record.points, key=lambda point: point.iteration)
    return replace(_open_member(record, last, RunDirectory(folder).weights(last)), name=folder.resolve().name)


def _open_member(record: StudyRecord, member: TrialPoint | InterpolatedPoint, file: Path) -> Checkpoint:
    owner = member.owner if isinstance(member, InterpolatedPoint) else member
    trials = [
        started
        for number, started in record.trials.items()
        if (number == owner.trial if isinstance(owner, TrialPoint) else owner.key in started.upstream.values())
    ]
    if not trials:
        raise UnknownSystem(f"{file}: the journal has no trial that these weights belong to; name another file")
    try:
        config = from_dict(trials[0].config)
    except ConfigError as error:
        raise UnknownSystem(f"{file}: the run of trial {trials[0].trial}: {error}") from None
    return _open_network(file, config.generator, config.data.scale, member.label)


def _open_network(path: Path, config: GeneratorConfig, scale: int, name: str) -> Checkpoint:
    generator = build_generator(config, scale)
    load_weights(generator, path)
    return Checkpoint(path, generator.eval(), scale, name, _describe(config))


def _last_point_of(folder: Path) -> list[Path]:
    return sorted((folder / "points").glob("*.safetensors"))[-1:]


def _artifact_of(folder: Path) -> list[Path]:
    return [path for path in [folder / WEIGHTS] if path.is_file()]


def _config_beside(path: Path) -> tuple[GeneratorConfig, int] | None:
    """Return the network of a trial's point, of a fidelity artifact or of a registered model; None for other files."""
    trial, artifact = path.parent.parent / CONFIG, path.parent / CONFIG
    if path.parent.name == "points" and trial.is_file():
        return read_generator(trial)
    return read_generator(artifact) if path.name == WEIGHTS and artifact.is_file() else None


def _config_of(recipe: str, scale: int | None) -> tuple[GeneratorConfig, int]:
    name, _, size = recipe.partition(":")
    config: RunConfig = get_recipe(name, size or "full", scale or 4)
    return config.generator, config.data.scale


def _row_name(path: Path) -> str:
    """Name a point by its trial and iteration, an artifact by its key, a file by its name."""
    if path.parent.name == "points":
        return (
            f"trial {int(path.parent.parent.name)} at {int(path.stem)}"
            if path.parent.parent.name.isdigit()
            else path.stem
        )
    return path.parent.name if path.name == WEIGHTS else path.stem


def _describe(config: GeneratorConfig) -> str:
    return f"{config.name}, {config.features} features, {config.blocks} blocks"


def with_unique_names(systems: list[System]) -> list[System]:
    """Number systems that have the same name, or would have the same folder, and log which is which."""
    given = {folder_name(system.name) for system in systems}
    taken: set[str] = set()
    renamed = []
    for system in systems:
        name = system.name
        if folder_name(name) in taken:
            numbered = (f"{name} ({number})" for number in count(2))
            name = next(each for each in numbered if folder_name(each) not in taken | given)
            log.warning("%s is %s", name, system.source or system.name)
        taken.add(folder_name(name))
        renamed.append(replace(system, name=name))
    return renamed


def folder_name(system: str) -> str:
    """Return the name of a folder for a system's images."""
    return system.replace("/", "_")
