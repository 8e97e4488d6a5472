"""Conditional image generation: train, judge, explain and share.

Three verbs suffice for most: ``arzhang.train("pix2pix-small", data="facades/")`` leaves a run's folder,
``arzhang.load(folder)`` is then a function from a PIL picture to a PIL picture, and
``arzhang.evaluate("real/", "made/")`` says how good such pictures are.
"""

from arzhang.evaluate import evaluate as evaluate
from arzhang.train import train as train
from arzhang.translate import load as load

__all__ = ["evaluate", "load", "train"]
