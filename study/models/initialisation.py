"""The one weight initialisation that is not PyTorch's default."""

from torch import nn


def scale_kaiming_init(*convs: nn.Conv2d | nn.ConvTranspose2d, scale: float = 0.1) -> None:
    """Draw weights Kaiming-normal (fan in, gain sqrt 2) times `scale`, and set biases to 0.

    This is the "K0.1 init" of METHODS 0. The small scale keeps a residual branch near zero at the start
    (ESRGAN, Wang et al. 2018, section 3.1).
    """
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, a=0, mode="fan_in")
        conv.weight.data.mul_(scale)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
