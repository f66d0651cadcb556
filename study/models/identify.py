"""Which network a weight file is of, by the names and shapes in it: ours first, then whatever spandrel knows."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from study.config import GeneratorConfig, RRDBConfig, generator_config
from study.models.build import build_generator
from study.models.weights import load_weights, read_state

# By kind: the names of a block's first convolution (its number in the brackets), by the sets of names that are in use.
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
"""Width of EDSR's large form, whose blocks' outputs are scaled by 0.1 (METHODS 2.4), which no file says."""


def identify(path: Path, scale: int | None = None) -> tuple[nn.Module, int, str]:
    """Build the network of a weight file, with its weights.

    Args:
        path: as for `load_weights`.
        scale: the SR factor, where the file alone does not tell.

    Returns:
        The network on the CPU, in eval mode; its SR factor; what it is, in a few words.

    Raises:
        ValueError: a file that cannot be read, or whose network is not known, or not sure.
    """
    state = read_state(path)
    fitting = list(_fitting(state, path, scale))
    if len(fitting) > 1:
        scales = " or ".join(str(factor) for _, _, factor in fitting)
        raise ValueError(f"{path}: may be of scale {scales}, which its weights do not tell; say --scale")
    if fitting:
        network, config, factor = fitting[0]
        return network.eval(), factor, f"{config.name}, {config.features} features, {config.blocks} blocks"
    return _by_spandrel(state, path, scale)


class _Described(nn.Module):
    """A network of spandrel's behind its descriptor, which pads images to what the network takes."""

    def __init__(self, network: nn.Module, descriptor: object) -> None:
        super().__init__()
        self.network = network
        self._call = descriptor

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, h, w) to (N, 3, h * scale, w * scale), clamped to [0, 1]."""
        enlarged: Tensor = self._call(images)  # type: ignore[operator]
        return enlarged


def _fitting(
    state: Mapping[str, Tensor], path: Path, scale: int | None
) -> Iterator[tuple[nn.Module, GeneratorConfig, int]]:
    """Our networks that the file fits, at each scale that it fits."""
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
    """Our kinds of networks whose names are among the file's, as wide and as deep as it has them."""
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
    # Imported late: it brings all of its package's architectures.
    from spandrel import MAIN_REGISTRY, ImageModelDescriptor, UnsupportedModelError

    try:
        descriptor = MAIN_REGISTRY.load(dict(state))
    except UnsupportedModelError as error:
        raise ValueError(
            f"{path}: no network is known whose weights have these names, such as {next(iter(state))}; "
            "say whose generator it is with --recipe NAME or NAME:SIZE"
        ) from error
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != 3:
        raise ValueError(f"{path}: is {descriptor.architecture.name}, which does not enlarge RGB images; name another")
    if scale is not None and descriptor.scale != scale:
        raise ValueError(f"{path}: is of scale {descriptor.scale}, not {scale}; correct --scale")
    return _Described(descriptor.model.eval(), descriptor), descriptor.scale, descriptor.architecture.name
