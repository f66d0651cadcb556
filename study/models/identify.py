"""Identify the network of a weight file by the names and shapes in it: ours first, then those of spandrel."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from study.config import GeneratorConfig, RRDBConfig, generator_config
from study.models.build import build_generator
from study.models.strict_state import recognise
from study.models.weights import load_weights, read_state

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
    fitting = list(_fitting(state, path, scale))
    if len(fitting) > 1:
        scales = " or ".join(str(factor) for _, _, factor in fitting)
        raise ValueError(f"{path}: its weights fit scale {scales}; choose one with --scale")
    if fitting:
        network, config, factor = fitting[0]
        return network.eval(), factor, f"{config.name}, {config.features} features, {config.blocks} blocks"
    return _by_spandrel(state, path, scale)


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
) -> Iterator[tuple[nn.Module, GeneratorConfig, int]]:
    """Build our networks that the file fits, at each scale that it fits."""
    for config in _candidates(state):
        found = []
        for factor in _SCALES if scale is None else (scale,):
            halving = isinstance(config, RRDBConfig) and factor == 2
            for form in (config, config.model_copy(update={"unshuffle": False})) if halving else (config,):
                try:
                    network = build_generator(form, factor)
                    load_weights(network, path)
                except ValueError:
                    continue
                found.append((network, form, factor))
        if found:
            yield from found
            return


def _candidates(state: Mapping[str, Tensor]) -> Iterator[GeneratorConfig]:
    """Find our kinds of networks whose names are among the file's, with its width and depth."""
    for kind, patterns in _BLOCKS.items():
        for pattern in patterns:
            blocks = {int(match[1]): state[name] for name in state if (match := re.fullmatch(pattern, name))}
            if not blocks:
                continue
            width, features = blocks[0].shape[:2] if 0 in blocks else (0, 0)
            dense = kind in ("rrdb", "spsr")
            fields = {"name": kind, "features": features, "blocks": len(blocks)}
            if kind == "edsr" and features == EDSR_LARGE:
                fields["residual_scale"] = 0.1
            try:
                yield generator_config(fields | ({"growth": width} if dense else {}))
            except ValueError:
                continue


def _by_spandrel(state: Mapping[str, Tensor], path: Path, scale: int | None) -> tuple[nn.Module, int, str]:
    # Imported late: it imports all of its package's architectures.
    from spandrel import MAIN_REGISTRY, ImageModelDescriptor, UnsupportedModelError

    try:
        descriptor = MAIN_REGISTRY.load(dict(state))
    except UnsupportedModelError as error:
        raise ValueError(
            f"{path}: no network is known whose weights have these names, such as {next(iter(state))}; "
            "name the recipe of its generator with --recipe NAME or NAME:SIZE"
        ) from error
    except Exception as error:  # weights that are not what their names promise: errors of many types
        looks = recognise(state)
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(":")
        raise ValueError(
            f"{path}: has names of {looks or 'a known network'}, but entries or shapes that do not fit one ({reason}); "
            "name the recipe of its generator with --recipe NAME or NAME:SIZE to see which, or name another file"
        ) from error
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != 3:
        raise ValueError(f"{path}: is {descriptor.architecture.name}, which does not enlarge RGB images; name another")
    if scale is not None and descriptor.scale != scale:
        raise ValueError(f"{path}: is of scale {descriptor.scale}, not {scale}; correct --scale")
    return _Described(descriptor.model.eval(), descriptor), descriptor.scale, descriptor.architecture.name
