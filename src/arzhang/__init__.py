"""Conditional image generation: train, judge, explain and share.

Two verbs suffice for most: ``arzhang.train("pix2pix-small", data="facades/")`` leaves a run's folder, and
``arzhang.load(folder)`` is then a function from a PIL picture to a PIL picture.
"""

from arzhang.train import train as train
from arzhang.translate import load as load

__all__ = ["load", "train"]
