"""The generator's training loss in an option file."""

from typing import Any

from study.config import ConfigError
from study.config.basicsr.networks import read_autoencoder
from study.config.basicsr.options import Options


def read_losses(options: Options, gan: str) -> dict[str, Any]:
    """Return the changes to `loss`, with this kind of GAN."""
    ldl = "ldl_opt" if options.has("train.ldl_opt.") and not options.has("train.artifacts_opt.") else "artifacts_opt"
    changes: dict[str, Any] = {"loss.gan": gan, "loss.ldl": options.loss_weight(f"train.{ldl}.")}
    changes |= _fidelity_term(options) | _perceptual_term(options) | _adversarial_term(options)
    options.must("train.net_d_iters", 1, why="both networks train in every step")
    options.must("train.net_d_init_iters", 0, why="both networks train in every step")
    options.must("gan_gt_usm", False, why="the discriminator sees images as they are")
    return changes


def _fidelity_term(options: Options) -> dict[str, Any]:
    guidances = {"AutoEncoderLoss": "aesop", "AutoEncoderBottleneckLoss": "bottleneck"}
    sharp = options.take("l1_gt_usm", False)
    if not options.has("train.aesop_opt."):
        if sharp and options.has("train.pixel_opt."):
            options.problems.append("l1_gt_usm: True: the pixel loss compares with images as they are")
        criterion = {"L1Loss": "l1", "MSELoss": "l2"}.get(options.values.get("train.pixel_opt.type", "L1Loss"))
        weight = options.loss_weight("train.pixel_opt.", allowed=("L1Loss", "MSELoss"))
        return {"loss.guidance": "pixel", "loss.fidelity": weight, "loss.criterion": criterion or "l1"}
    if options.has("train.pixel_opt."):
        options.problems.append("train.pixel_opt: the sum has one fidelity term, and train.aesop_opt is it")
        options.values = {k: v for k, v in options.values.items() if not k.startswith("train.pixel_opt.")}
    kind = options.take("train.aesop_opt.type")
    if kind not in guidances:
        raise ConfigError(f"{options.path}: train.aesop_opt.type must be one of {', '.join(guidances)}, got {kind!r}")
    guidance = "loss-map" if options.take("train.aesop_opt.as_loss_map", False) else guidances[kind]
    options.must("train.aesop_opt.reduction", "mean", why="losses are means")
    criterion = {"l1": "l1", "l2": "l2", "mse": "l2"}.get(options.take("train.aesop_opt.criterion", "l1"), "?")
    changes = read_autoencoder(options, "train.aesop_opt.autoencoder_arch.")
    changes |= options.text("train.aesop_opt.autoencoder_load.path", "autoencoder.init")
    weight = options.number("train.aesop_opt.loss_weight", 1)
    return changes | {"loss.guidance": guidance, "loss.fidelity": weight, "loss.criterion": criterion}


def _adversarial_term(options: Options) -> dict[str, Any]:
    if not options.has("train.gan_opt."):
        options.assumed.append("train.gan_opt: not in the file; there is no adversarial term")
        return {"loss.adversarial": 0}
    options.assume({"train.gan_opt.type": "GANLoss", "train.gan_opt.gan_type": "vanilla"})
    options.must("train.gan_opt.type", "GANLoss", why="the GAN is a cross-entropy")
    options.must("train.gan_opt.gan_type", "vanilla", why="the GAN is a cross-entropy")
    options.must("train.gan_opt.real_label_val", 1, 1.0, why="labels are 1 and 0")
    options.must("train.gan_opt.fake_label_val", 0, 0.0, why="labels are 1 and 0")
    return {"loss.adversarial": options.number("train.gan_opt.loss_weight", 1)}


def _perceptual_term(options: Options) -> dict[str, Any]:
    if not options.has("train.perceptual_opt."):
        return {"loss.perceptual": 0}
    options.must("train.perceptual_opt.type", "PerceptualLoss", why="the perceptual loss is VGG's")
    options.must("train.perceptual_opt.vgg_type", "vgg19", why="the network is VGG-19")
    options.must("train.perceptual_opt.use_input_norm", True, why="VGG's input is normalised")
    options.must("train.perceptual_opt.range_norm", False, why="images lie in [0, 1]")
    options.must("train.perceptual_opt.style_weight", 0, 0.0, why="there is no style term")
    options.must("train.perceptual_opt.criterion", "l1", why="features are compared by L1")
    prefix = "train.perceptual_opt.layer_weights."
    given = {key.removeprefix(prefix): options.number(key, 0) for key in list(options.values) if key.startswith(prefix)}
    known = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
    for name in given.keys() - set(known):
        options.problems.append(f"{prefix}{name}: {given[name]!r}: layers are {', '.join(known)}")
    return {
        "loss.perceptual": options.number("train.perceptual_opt.perceptual_weight", 1),
        "loss.perceptual_network": "vgg19",
        "loss.perceptual_target": "sharpened" if options.take("percep_gt_usm", False) else "hr",
        **{f"loss.perceptual_layers.{name}": given.get(name, 0) for name in known},
    }
