"""CycleGAN for a laptop."""

from dataclasses import replace

from arzhang.data import domains
from arzhang.models import cyclegan as model
from arzhang.networks import patchgan, resnet
from arzhang.recipes.cyclegan import cyclegan
from arzhang.run import Run


def cyclegan_small() -> Run:
    """CycleGAN at 128 pixels, half the width and six blocks: under an hour on two cores, a first answer on any data.

    Unlike the paper's, it doubles by resize-convolutions and keeps a moving average of the weights.
    """
    return replace(
        cyclegan(),
        model=model.Config(
            generator=resnet.Config(blocks=6, width=32, upsample="resize"),
            discriminator=patchgan.Config(width=32, norm="instance"),
        ),
        data=domains.Config(size=128),
        steps=8000,
        epochs=None,
        ema=0.999,
        judge_every=500,
        checkpoint_every=250,
    )
