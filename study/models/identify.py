"""Identify the network of a weight file by the names and shapes in it: ours first, then those of spandrel."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from study.config import GeneratorConfig, RRDBConfig, generator_config
from study.models.build import build_generator
from study.models.strict_state import MismatchError, recognise
from study.models.weights import load_state, read_state

# By kind: patterns for the name of each block's first convolution (the group is its number), one for each set of names.
_BLOCKS = {
    "rrdb": (
        r"body\.(\d+)\.rdb1\.conv1\.weight",
        r"RRDB_trunk\.(\d+)\.RDB1\.conv1\.weight",
        r"model\.1\.sub\.(\d+)\.RDB1\.conv1\.0\.weight",
    ),
    "spsr": (r"trunk\.body\.(\d+)\.rdb1\.conv1\.weight", r"model\.1\.sub\.(\d+)\.RDB1\.conv1\.0\.weight"),
    "msrresnet": (r"body\.(\d+)\.conv1\.weight",),
    "edsr": (r"body\.(\d+)\.conv1\.weight",),
    "srresnet": (r"body\.(\d+)\.layers\.0\.weight",),
}
_SCALES = (4, 2, 3, 1)

EDSR_LARGE = 256
"""Width of EDSR's large form, whose residual scale of 0.1 (Lim et al. 2017) is in no weight file."""


def identify(path: Path, scale: int | None = None) -> tuple[nn.Module, int, str]:
    """Build the network of a weight file, with its weights.

    Args:
        path: as for `load_weights`.
        scale: the SR factor, for files that fit several.

    Returns:
        The network on the CPU, in eval mode; its SR factor; a short description.

    Raises:
        ValueError: an unreadable file, an unknown network, or one that fits several scales.
    """
    state = read_state(path)
    fitting, nearest = _fitting(state, path, scale)
    if len(fitting) > 1:
        scales = " or ".join(str(factor) for _, _, factor in fitting)
        raise ValueError(f"{path}: its weights fit scale {scales}; choose one with --scale")
    if fitting:
        network, config, factor = fitting[0]
        return network.eval(), factor, f"{config.name}, {config.features} features, {config.blocks} blocks"
    if scale is not None and (others := _fitting(state, path, None)[0]):
        scales = " or ".join(str(factor) for _, _, factor in others)
        raise ValueError(f"{path}: is of scale {scales}, not {scale}; correct --scale")
    return _by_spandrel(state, path, scale, nearest)


class _Described(nn.Module):
    """A network of spandrel's with its descriptor, which pads images to the sizes that the network accepts."""

    def __init__(self, network: nn.Module, descriptor: object) -> None:
        super().__init__()
        self.network = network
        self._call = descriptor

    def forward(self, images: Tensor) -> Tensor:
        """Enlarge images (N, 3, h, w) to (N, 3, h * scale, w * scale), clamped to [0, 1]."""
        enlarged: Tensor = self._call(images)  # type: ignore[operator]
        return enlarged


def _fitting(
    state: Mapping[str, Tensor], path: Path, scale: int | None
) -> tuple[list[tuple[nn.Module, GeneratorConfig, int]], str | None]:
    """Build our networks that the file fits, at each scale that it fits; else say what differs from the nearest."""
    misses: list[tuple[int, str]] = []
    for config in _candidates(state):
        found = []
        for factor in _SCALES if scale is None else (scale,):
            halving = isinstance(config, RRDBConfig) and factor == 2
            for form in (config, config.model_copy(update={"unshuffle": False})) if halving else (config,):
                try:
                    network = build_generator(form, factor)
                    load_state(network, state, str(path))
                except MismatchError as error:
                    looks = f"{config.name} of {config.features} features and {config.blocks} blocks at scale {factor}"
                    misses.append((error.count, f"{looks}, but for {error.problems}"))
                    continue
                except ValueError:
                    continue
                found.append((network, form, factor))
        if found:
            return found, None
    return [], min(misses, default=(0, None))[1]


def _candidates(state: Mapping[str, Tensor]) -> Iterator[GeneratorConfig]:
    """Find our kinds of networks whose names are among the file's, with its width and depth."""
    for kind, patterns in _BLOCKS.items():
        for pattern in patterns:
            blocks = {int(match[1]): state[name] for name in state if (match := re.fullmatch(pattern, name))}
            if not blocks:
                continue
            dense = kind in ("rrdb", "spsr")
            try:
                width, features = next(iter(blocks.values())).shape[:2]
                fields = {"name": kind, "features": features, "blocks": max(blocks) + 1}
                if kind == "edsr" and features == EDSR_LARGE:
                    fields["residual_scale"] = 0.1
                yield generator_config(fields | ({"growth": width} if dense else {}))
            except ValueError:
                continue


def _by_spandrel(
    state: Mapping[str, Tensor], path: Path, scale: int | None, nearest: str | None
) -> tuple[nn.Module, int, str]:
    # Imported late: it imports all of its package's architectures.
    from spandrel import MAIN_REGISTRY, ImageModelDescriptor, UnsupportedModelError

    try:
        descriptor = MAIN_REGISTRY.load(dict(state))
    except Exception as error:  # of weights that are not what their names promise, errors of many types
        if nearest is not None:
            raise ValueError(
                f"{path}: the nearest network is {nearest}; save the whole `state_dict()` of the network alone there, "
                "or name another file"
            ) from error
        if not isinstance(error, UnsupportedModelError):
            raise ValueError(_misfit(state, path, error)) from error
        raise ValueError(
            f"{path}: no network is known whose weights have these names, such as {next(iter(state))}; "
            "name the recipe of its generator with --recipe NAME or NAME:SIZE"
        ) from error
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != 3:
        raise ValueError(f"{path}: is {descriptor.architecture.name}, which does not enlarge RGB images; name another")
    if scale is not None and descriptor.scale != scale:
        raise ValueError(f"{path}: is of scale {descriptor.scale}, not {scale}; correct --scale")
    return _Described(descriptor.model.eval(), descriptor), descriptor.scale, descriptor.architecture.name


def _misfit(state: Mapping[str, Tensor], path: Path, error: Exception) -> str:
    reason = textwrap.shorten(str(error), 250, placeholder=" ...") or type(error).__name__
    return (
        f"{path}: has names of {recognise(state) or 'a known network'}, but entries or shapes that do not fit one "
        f"({reason}); name the recipe of its generator with --recipe NAME or NAME:SIZE to see which, or another file"
    )
