"""The official AESOP training step, reimplemented: the peer of `step.py`.

It computes what the official trainer computes, in its order (docs/methods/aesop.md): NCHW, float32, eager; five
discriminator passes a step; one averaging operation a parameter; each loss read back. Layers have BasicSR's names, so
that networks here load the weights of ours.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VGG_LAYERS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
ADVERSARIAL_WEIGHT = 5e-3
EMA_DECAY = 0.999


class DenseBlock(nn.Module):
    """Five convolutions; each takes the concatenation of the input and all outputs before."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 6):
            grown = features + (number - 1) * growth
            self.add_module(f"conv{number}", nn.Conv2d(grown, features if number == 5 else growth, 3, 1, 1))
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map features to features."""
        x1 = self.lrelu(self.conv1(x))
        x2 = self.lrelu(self.conv2(torch.cat((x, x1), 1)))
        x3 = self.lrelu(self.conv3(torch.cat((x, x1, x2), 1)))
        x4 = self.lrelu(self.conv4(torch.cat((x, x1, x2, x3), 1)))
        x5 = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        return x5 * 0.2 + x


class Block(nn.Module):
    """Three dense blocks inside one more residual."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(features, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Map features to features."""
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class Generator(nn.Module):
    """RRDBNet x4."""

    def __init__(self, features: int, blocks: int, growth: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(in_channels, features, 3, 1, 1)
        self.body = nn.Sequential(*(Block(features, growth) for _ in range(blocks)))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            self.add_module(name, nn.Conv2d(features, features, 3, 1, 1))
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map LR images to SR images."""
        feat = self.conv_first(x)
        feat = feat + self.conv_body(self.body(feat))
        feat = self.lrelu(self.conv_up1(F.interpolate(feat, scale_factor=2, mode="nearest")))
        feat = self.lrelu(self.conv_up2(F.interpolate(feat, scale_factor=2, mode="nearest")))
        return self.conv_last(self.lrelu(self.conv_hr(feat)))


class AutoEncoder(nn.Module):
    """The auto-encoder with three channels in its bottleneck."""

    def __init__(self, features: int, blocks: int, growth: int) -> None:
        super().__init__()
        stem = features // 16
        self.conv_first = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1), nn.Conv2d(stem, stem, 3, 1, 1))
        self.body = nn.Sequential(*(Block(features, growth) for _ in range(2)))
        self.conv_last = nn.Sequential(nn.Conv2d(features, features, 3, 1, 1), nn.Conv2d(features, 3, 3, 1, 1))
        self.decoder = Generator(features, blocks, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to images."""
        unshuffled = F.pixel_unshuffle(F.pixel_unshuffle(self.conv_first(x), 2), 2)
        return self.decoder(self.conv_last(self.body(unshuffled)))


class Discriminator(nn.Module):
    """The VGG-style discriminator for patches of 128 or 256."""

    def __init__(self, features: int, patch: int) -> None:
        super().__init__()
        stages, channels = (5 if patch == 128 else 6), 3
        layers: list[tuple[str, str | None]] = []
        for stage in range(stages):
            width = features * (1, 2, 4, 8, 8, 8)[stage]
            self.add_module(f"conv{stage}_0", nn.Conv2d(channels, width, 3, 1, 1, bias=stage == 0))
            self.add_module(f"conv{stage}_1", nn.Conv2d(width, width, 4, 2, 1, bias=False))
            if stage:
                self.add_module(f"bn{stage}_0", nn.BatchNorm2d(width, affine=True))
            self.add_module(f"bn{stage}_1", nn.BatchNorm2d(width, affine=True))
            layers += [(f"conv{stage}_0", f"bn{stage}_0" if stage else None), (f"conv{stage}_1", f"bn{stage}_1")]
            channels = width
        self.layers = layers
        self.linear1, self.linear2 = nn.Linear(channels * 16, 100), nn.Linear(100, 1)
        self.lrelu = nn.LeakyReLU(negative_slope=0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map patches to logits."""
        for conv, norm in self.layers:
            x = self.get_submodule(conv)(x)
            x = self.lrelu(x if norm is None else self.get_submodule(norm)(x))
        return self.linear2(self.lrelu(self.linear1(x.flatten(1))))


class OfficialStep:
    """The trainer: networks, optimisers, and a step."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        autoencoder: nn.Module,
        vgg: nn.Sequential | None,
        *,
        learning_rate: float = 1e-4,
    ) -> None:
        """Set up the optimisers and the average.

        Args:
            generator, discriminator: to train.
            autoencoder, vgg: are frozen; None for VGG-19's features leaves the perceptual term out.
            learning_rate: of both optimisers.
        """
        self.net_g, self.net_d, self.autoencoder, self.vgg = generator, discriminator, autoencoder, vgg
        self.net_g_ema = copy.deepcopy(generator).eval()
        for frozen in (self.net_g_ema, autoencoder, vgg):
            for parameter in [] if frozen is None else frozen.parameters():
                parameter.requires_grad = False
        self.optimizer_g = torch.optim.Adam(generator.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        self.optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        device = next(generator.parameters()).device
        self.mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(1, 3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225], device=device).view(1, 3, 1, 1)

    def step(self, lq: Tensor, gt: Tensor) -> dict[str, float]:
        """Train one step; return the losses."""
        losses: dict[str, Tensor] = {}
        for parameter in self.net_d.parameters():
            parameter.requires_grad = False
        self.optimizer_g.zero_grad()
        output = self.net_g(lq)
        with torch.no_grad():
            output_ema = self.net_g_ema(lq)
            target = self.autoencoder(gt)
        losses["l_g_aesop"] = F.l1_loss(self.autoencoder(output), target)
        weight = ldl_weight(output, gt, output_ema)
        losses["l_g_artifacts"] = F.l1_loss(weight * output, weight * gt)
        if self.vgg is not None:
            losses["l_g_percep"] = self.perceptual(output, gt)
        real = self.net_d(gt).detach()
        fake = self.net_d(output)
        relativistic = (_bce(real - fake.mean(), 0.0) + _bce(fake - real.mean(), 1.0)) / 2
        losses["l_g_gan"] = ADVERSARIAL_WEIGHT * relativistic
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer_g.step()

        for parameter in self.net_d.parameters():
            parameter.requires_grad = True
        self.optimizer_d.zero_grad()
        fake = self.net_d(output).detach()
        real = self.net_d(gt)
        losses["l_d_real"] = _bce(real - fake.mean(), 1.0) * 0.5
        losses["l_d_real"].backward()
        fake = self.net_d(output.detach())
        losses["l_d_fake"] = _bce(fake - real.mean().detach(), 0.0) * 0.5
        losses["l_d_fake"].backward()
        self.optimizer_d.step()

        with torch.no_grad():
            for average, parameter in zip(self.net_g_ema.parameters(), self.net_g.parameters(), strict=True):
                average.mul_(EMA_DECAY).add_(parameter, alpha=1 - EMA_DECAY)
        return {name: loss.item() for name, loss in losses.items()}

    def perceptual(self, output: Tensor, gt: Tensor) -> Tensor:
        """Return the weighted sum of L1 distances of VGG-19's features before their ReLUs."""
        found, wanted = self._features(output), self._features(gt.detach())
        distances = [weight * F.l1_loss(found[layer], wanted[layer]) for layer, weight in VGG_LAYERS.items()]
        return torch.stack(distances).sum()

    def _features(self, images: Tensor) -> dict[int, Tensor]:
        assert self.vgg is not None
        x, features = (images - self.mean) / self.std, {}
        for number, layer in enumerate(self.vgg):
            x = layer(x)
            if number in VGG_LAYERS:
                features[number] = x.clone()  # the next ReLU works in place
        return features


def ldl_weight(output: Tensor, gt: Tensor, output_ema: Tensor) -> Tensor:
    """Return LDL's artifact map (Liang et al., CVPR 2022); variances are over 49 shifted copies."""
    residual = torch.sum(torch.abs(gt - output), 1, keepdim=True)
    residual_ema = torch.sum(torch.abs(gt - output_ema), 1, keepdim=True)
    patch_level = torch.var(residual.clone(), dim=(-1, -2, -3), keepdim=True).add(1e-12) ** (1 / 5)
    windows = F.pad(residual, [3, 3, 3, 3], mode="reflect").unfold(2, 7, 1).unfold(3, 7, 1)
    pixel_level = torch.var(windows, dim=(-1, -2), unbiased=True)
    weight = patch_level * pixel_level
    weight[residual < residual_ema] = 0
    return weight


def vgg19_features() -> nn.Sequential:
    """Return torchvision's VGG-19 up to conv5_4 with random weights; ReLUs in place."""
    from torchvision.models import vgg19

    return vgg19(weights=None).features[: max(VGG_LAYERS) + 1].eval()


def _bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
