"""Generator, auto-encoder and discriminator in an option file."""

from collections.abc import Callable
from typing import Any

from study.config import ConfigError
from study.config.basicsr.options import Options

# The up-scaling of each generator by its key in BasicSR, with the default there.
_UPSCALING = {
    "RRDBNet": {"scale": 4},
    "MSRResNet": {"upscale": 4},
    "EDSR": {"upscale": 4},
    "SwinIR": {"upscale": 2},
}

# The only patches that each VGG-style discriminator takes in BasicSR.
_INPUT_SIDES = {
    "VGGStyleDiscriminator": (128, 256),
    "VGGStyleDiscriminator128": (128,),
    "VGGStyleDiscriminator256": (256,),
}

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def read_generator(options: Options, scale: int) -> dict[str, Any]:
    """Return the changes to `generator`."""
    kind = options.take("network_g.type")
    readers: dict[str, Callable[[Options], dict[str, Any]]] = {
        "RRDBNet": _rrdb,
        "MSRResNet": _msrresnet,
        "EDSR": _edsr,
        "SwinIR": _swinir,
    }
    if kind not in readers:
        raise ConfigError(f"{options.path}: network_g.type must be one of {', '.join(readers)}, but got {kind!r}")
    for key in ("num_in_ch", "num_out_ch", "in_chans"):
        options.must(f"network_g.{key}", 3, why="images have three colours")
    for key in ("scale", "upscale"):
        found = options.take(f"network_g.{key}", _UPSCALING[kind].get(key, scale))
        if found != scale:
            options.problems.append(f"network_g.{key}: {found!r}: the file's scale is {scale}")
    return {f"generator.{name}": value for name, value in readers[kind](options).items()}


def _rrdb(options: Options) -> dict[str, Any]:
    return {"name": "rrdb", **_rrdb_widths(options, "network_g.")}


def _rrdb_widths(options: Options, prefix: str) -> dict[str, Any]:
    names = {"features": ("num_feat", 64), "blocks": ("num_block", 23), "growth": ("num_grow_ch", 32)}
    return {name: options.take(f"{prefix}{key}", default) for name, (key, default) in names.items()}


def _msrresnet(options: Options) -> dict[str, Any]:
    widths = {"features": ("num_feat", 64), "blocks": ("num_block", 16)}
    return {"name": "msrresnet"} | {
        name: options.take(f"network_g.{key}", default) for name, (key, default) in widths.items()
    }


def _edsr(options: Options) -> dict[str, Any]:
    options.must("network_g.img_range", 255.0, why="EDSR's images count levels up to 255 inside")
    options.must("network_g.rgb_mean", list(DIV2K_MEAN), why="EDSR subtracts DIV2K's mean")
    return {
        "name": "edsr",
        "features": options.take("network_g.num_feat", 64),
        "blocks": options.take("network_g.num_block", 16),
        "residual_scale": options.take("network_g.res_scale", 1),
    }


def _swinir(options: Options) -> dict[str, Any]:
    options.take("network_g.img_size")  # the side of ready-made masks, without effect on the result
    options.must("network_g.img_range", 1.0, why="images lie in [0, 1]")
    options.must("network_g.resi_connection", "1conv", why="groups end in one convolution")
    depths = options.take("network_g.depths", [6, 6, 6, 6])
    heads = options.take("network_g.num_heads", [6, 6, 6, 6])
    for name, values in (("depths", depths), ("num_heads", heads)):
        if len(set(values)) != 1 or len(values) != len(depths):
            options.problems.append(f"network_g.{name}: {values!r}: all groups are alike")
    return {
        "name": "swinir",
        "features": options.take("network_g.embed_dim", 96),
        "blocks": len(depths),
        "depth": depths[0],
        "heads": heads[0],
        "window": options.take("network_g.window_size", 7),
        "mlp_ratio": options.number("network_g.mlp_ratio", 4.0),
        "drop_path": options.number("network_g.drop_path_rate", 0.1),
        "upsampler": options.take("network_g.upsampler", ""),
    }


def read_autoencoder(options: Options, prefix: str) -> dict[str, Any]:
    """Return the changes to `autoencoder`, whose network is described by the keys with a prefix."""
    encoders = {"AutoEncoder_RRDBNet": "learned", "BicubicDown_RRDBNet": "bicubic"}
    kind = options.take(f"{prefix}type")
    if kind not in encoders:
        raise ConfigError(f"{options.path}: {prefix}type must be one of {', '.join(encoders)}, but got {kind!r}")
    decoder = f"{prefix}dec_opt."
    options.must(f"{decoder}type", "RRDBNet", why="this auto-encoder has an RRDB decoder")
    for key in ("num_in_ch", "num_out_ch"):
        options.must(f"{decoder}{key}", 3, why="the bottleneck has three colours")
    changes = {f"autoencoder.{name}": value for name, value in _rrdb_widths(options, decoder).items()}
    return changes | {"autoencoder.encoder": encoders[kind], "autoencoder.decoder": "rrdb"}


def read_discriminator(options: Options, patch: object) -> dict[str, Any]:
    """Return the changes to `discriminator`, which sees patches of this side."""
    kind = options.take("network_d.type")
    names = {**dict.fromkeys(_INPUT_SIDES, "vgg"), "UNetDiscriminatorSN": "unet"}
    if kind not in names:
        raise ConfigError(f"{options.path}: network_d.type must be one of {', '.join(names)}, but got {kind!r}")
    options.must("network_d.num_in_ch", 3, why="images have three colours")
    options.must("network_d.skip_connection", True, why="the U-Net has its skips")
    if kind in _INPUT_SIDES:
        options.assume({"network_d.num_feat": 64})
        _check_input(options, kind, patch)
    return {"discriminator.name": names[kind], "discriminator.features": options.take("network_d.num_feat", 64)}


def _check_input(options: Options, kind: str, patch: object) -> None:
    """List patches that this discriminator does not take in BasicSR; here it is built for the patch."""
    sides = _INPUT_SIDES[kind]
    side = options.take("network_d.input_size", sides[0]) if len(sides) > 1 else sides[0]
    if side not in sides:
        options.problems.append(
            f"network_d.input_size: {side!r}: {kind} takes {' or '.join(map(str, sides))} in BasicSR"
        )
    if side != patch:
        options.problems.append(
            f"network_d.type: {kind!r}: takes patches of {side}, but datasets.train.gt_size is {patch}; "
            "here it is built for these"
        )
