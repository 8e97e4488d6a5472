"""Day becomes night, and night day, without pairs, network or GPU."""

from dataclasses import replace

from arzhang.data import domains
from arzhang.models import cyclegan as model
from arzhang.networks import patchgan, resnet
from arzhang.recipes.cyclegan_small import cyclegan_small
from arzhang.run import Run


def cyclegan_demo() -> Run:
    """Houses by day and by night at 64 pixels, whose true pairs training never sees, so that its error is known."""
    return replace(
        cyclegan_small(),
        model=model.Config(
            generator=resnet.Config(blocks=3, width=24, upsample="resize"),
            discriminator=patchgan.Config(layers=2, width=32, norm="instance"),
        ),
        data=domains.Config(size=64),
        steps=4000,
        ema=0.995,
    )
