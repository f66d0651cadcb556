"""The networks of the study: generators, auto-encoder, discriminators, and the files of released weights."""

from study.models.autoencoder import Autoencoder
from study.models.critics import Critics
from study.models.discriminators import UNetDiscriminator, VGGDiscriminator
from study.models.edsr import EDSR
from study.models.msrresnet import MSRResNet
from study.models.rrdb import RRDBNet
from study.models.spsr import SPSRGenerator
from study.models.srresnet import SRResNet
from study.models.upsampling_heads import HeadedGenerator
from study.models.weights import load_weights, save_weights

__all__ = [
    "EDSR",
    "Autoencoder",
    "Critics",
    "HeadedGenerator",
    "MSRResNet",
    "RRDBNet",
    "SPSRGenerator",
    "SRResNet",
    "UNetDiscriminator",
    "VGGDiscriminator",
    "load_weights",
    "save_weights",
]
