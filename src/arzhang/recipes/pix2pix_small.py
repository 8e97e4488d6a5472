"""Pix2Pix for a laptop."""

from arzhang.data import facade
from arzhang.models import pix2pix as model
from arzhang.networks import patchgan, unet
from arzhang.run import Run


def pix2pix_small() -> Run:
    """Pix2Pix at 128 pixels and half the width: interactive on a laptop, a first answer on any data.

    Unlike the paper's, it keeps a moving average of the weights, which evens out the last quarrels of the players.
    """
    return Run(
        model=model.Config(generator=unet.Config(depth=7, width=32), discriminator=patchgan.Config(width=32)),
        data=facade.Config(size=128),
        steps=20_000,
        ema=0.999,
        judge_every=1000,
        checkpoint_every=500,
    )
