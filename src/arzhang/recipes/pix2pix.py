"""Pix2Pix as published."""

from arzhang.data import facade
from arzhang.models import pix2pix as model
from arzhang.run import Run


def pix2pix() -> Run:
    """Pix2Pix as in the paper: 256 pixels, batch 1, 200 epochs at a constant rate, cGAN + 100 L1."""
    return Run(model=model.Config(), data=facade.Config(size=256), epochs=200, judge_every=2000, checkpoint_every=2000)
