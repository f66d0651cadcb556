"""The networks of the study: generators, auto-encoder, discriminator, and the reading of released weights."""

from study.models.autoencoder import Autoencoder
from study.models.discriminators import VGGDiscriminator
from study.models.msrresnet import MSRResNet
from study.models.rrdb import RRDBNet
from study.models.weights import load_weights

__all__ = ["Autoencoder", "MSRResNet", "RRDBNet", "VGGDiscriminator", "load_weights"]
