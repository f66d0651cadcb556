"""The training steps that `step.py` measures: the official one and ours, from the same weights."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.official_step import AutoEncoder, Discriminator, Generator, OfficialStep, vgg19_features
from study.config import LossConfig, Optimiser, Precision
from study.losses.generator_loss import GeneratorLoss
from study.losses.guidance import GuidanceInputs
from study.losses.perceptual import PerceptualLoss
from study.models import Autoencoder, RRDBNet, VGGDiscriminator
from study.training.loop import SYNC_INTERVAL
from study.training.state import TrainState, new_state, update_ema
from study.training.steps import adversarial_step

EMA_DECAY = 0.999
Step = Callable[[Tensor, Tensor], object]
"""Trains one step on LQ and HR images of any memory format."""


class Networks:
    """The official networks of one size, with the weights from which every group starts."""

    def __init__(self, size: str, *, patch: int, discriminator: int, vgg: bool) -> None:
        """Draw random weights.

        Args:
            size: features x blocks of generator and auto-encoder, such as 16x2.
            patch: HR side in pixels.
            discriminator: its features; 0 for as many as the generator has.
            vgg: with a perceptual term.
        """
        torch.manual_seed(0)
        self.features, self.blocks = (int(number) for number in size.split("x"))
        self.width, self.patch = discriminator or self.features, patch
        growth = self.features // 2
        self.generator = Generator(self.features, self.blocks, growth)
        self.autoencoder = AutoEncoder(self.features, self.blocks, growth)
        self.discriminator = Discriminator(self.width, self.patch)
        self.vgg = vgg19_features() if vgg else None
        self.dtype = torch.float32
        for network in (self.generator, self.autoencoder):
            _start_small(network)

    def to(self, dtype: torch.dtype) -> None:
        """Convert the weights."""
        self.dtype = dtype
        for network in (self.generator, self.autoencoder, self.discriminator):
            network.to(dtype)

    def official(self, device: torch.device) -> OfficialStep:
        """Return the official trainer."""
        parts = (self.generator, self.discriminator, self.autoencoder, self.vgg)
        generator, discriminator, autoencoder, vgg = (
            copy.deepcopy(part).to(device) if part else None for part in parts
        )
        assert generator is not None
        assert discriminator is not None
        assert autoencoder is not None
        return OfficialStep(generator, discriminator, autoencoder, vgg)

    def ours(self, device: torch.device, precision: Precision) -> tuple[TrainState, GeneratorLoss]:
        """Return our state and loss, with the same weights."""
        growth = self.features // 2
        generator, discriminator = RRDBNet(self.features, self.blocks, growth), VGGDiscriminator(self.patch, self.width)
        autoencoder = Autoencoder(3, 4, self.features, self.blocks, growth)
        for network in (generator, discriminator, autoencoder):
            network.to(self.dtype)
        generator.load_state_dict(self.generator.state_dict())
        discriminator.load_state_dict(self.discriminator.state_dict())
        autoencoder.load_state_dict(self.autoencoder.state_dict())
        autoencoder = autoencoder.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        perceptual = None
        if self.vgg is not None:
            features = copy.deepcopy(self.vgg)
            for layer in features:
                if isinstance(layer, nn.ReLU):
                    layer.inplace = False
            perceptual = PerceptualLoss(features).to(device, memory_format=torch.channels_last)
        state = new_state(
            generator.to(device),
            Optimiser(),
            discriminators={"adversarial": discriminator.to(device)},
            precision=precision,
        )
        loss = LossConfig(perceptual=0 if self.vgg is None else 1)
        generator_loss = GeneratorLoss(
            loss, GuidanceInputs(autoencoder), perceptual=perceptual, autocast=state.autocast
        )
        return state, generator_loss


def group_names(compiled: bool) -> list[str]:
    """Return the names of the groups."""
    names = ["official", "official-bf16", "fp32", "bf16"]
    return [*names, "compiled"] if compiled else names


def make_step(group: str, networks: Networks, device: torch.device) -> Step:
    """Build a group's trainer; return its step."""
    if group.startswith("official"):
        return _official_step(networks.official(device), device, fast=group == "official-bf16")
    state, generator_loss = networks.ours(device, "fp32" if group == "fp32" else "bf16")
    if group == "compiled":
        _compile(state, generator_loss)
    step = adversarial_step(generator_loss)

    def ours(lq: Tensor, hr: Tensor) -> object:
        terms = step(state, *(images.contiguous(memory_format=torch.channels_last) for images in (lq, hr)))
        update_ema(state, EMA_DECAY)
        state.iteration += 1
        if state.iteration % SYNC_INTERVAL == 0:  # as the training loop
            return {name: float(term) for name, term in terms.items()}
        return terms

    return ours


def _official_step(trainer: OfficialStep, device: torch.device, *, fast: bool) -> Step:
    if not fast:
        return trainer.step
    for network in (trainer.net_g, trainer.net_d, trainer.net_g_ema, trainer.autoencoder, trainer.vgg):
        if network is not None:
            network.to(memory_format=torch.channels_last)

    def step(lq: Tensor, hr: Tensor) -> object:
        with torch.autocast(device.type, torch.bfloat16):
            return trainer.step(*(images.contiguous(memory_format=torch.channels_last) for images in (lq, hr)))

    return step


def _compile(state: TrainState, generator_loss: GeneratorLoss) -> None:
    guidance_inputs, perceptual = generator_loss._guide.autoencoder, generator_loss._perceptual
    for network in (state.model, state.ema, *state.discriminators.values(), guidance_inputs, perceptual):
        if network is not None:
            network.compile(dynamic=False)


def _start_small(network: nn.Module) -> None:
    """Scale dense blocks by a tenth, so that activations of random networks neither vanish nor explode."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if ".rdb" in name and name.endswith("weight"):
                weight.mul_(0.1)
