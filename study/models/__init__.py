"""The networks of the study: generators, auto-encoder, discriminators, and the files of released weights."""

from study.models.autoencoder import Autoencoder
from study.models.discriminators import UNetDiscriminator, VGGDiscriminator
from study.models.msrresnet import MSRResNet
from study.models.rrdb import RRDBNet
from study.models.spsr import SPSRGenerator
from study.models.weights import load_weights, save_weights

__all__ = [
    "Autoencoder",
    "MSRResNet",
    "RRDBNet",
    "SPSRGenerator",
    "UNetDiscriminator",
    "VGGDiscriminator",
    "load_weights",
    "save_weights",
]
