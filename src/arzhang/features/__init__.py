"""Extractors: networks that are only looked through, one a file."""

from arzhang.features import (
    alexnet as alexnet,
    inception as inception,
    lenet as lenet,
    pixels as pixels,
    squeezenet as squeezenet,
    vgg16 as vgg16,
)

__all__ = ["alexnet", "inception", "lenet", "pixels", "squeezenet", "vgg16"]
