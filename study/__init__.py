"""A Ray-distributed study of perceptual image super-resolution losses."""

__version__ = "0.1.0"
