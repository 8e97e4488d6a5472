"""Conditional image generation: train, judge, explain and share.

Three verbs suffice for most: ``arzhang.train("pix2pix-small", data="facades/")`` leaves a run's folder,
``arzhang.load(folder)`` is then a function from a PIL picture to a PIL picture, or from a number to as many new ones,
and ``arzhang.evaluate("real/", "made/")`` says how good such pictures are.
"""

from arzhang.evaluate import evaluate as evaluate
from arzhang.restore import load as load
from arzhang.train import train as train

__all__ = ["evaluate", "load", "train"]
