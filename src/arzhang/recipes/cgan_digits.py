"""A conditional GAN of small digits, offline."""

from dataclasses import replace

from arzhang.data import digits
from arzhang.models import cgan as model
from arzhang.networks import conditional_discriminator, conditional_generator
from arzhang.recipes.cgan_mnist import cgan_mnist
from arzhang.run import Run


def cgan_digits() -> Run:
    """A conditional GAN on the 16 x 16 digits that come with scikit-learn: minutes, no download."""
    return replace(
        cgan_mnist(),
        model=model.Config(
            size=16,
            latents=32,
            generator=conditional_generator.Config(width=16),
            discriminator=conditional_discriminator.Config(width=32),
            augment=("translation",),
        ),
        data=digits.Config(size=16),
        steps=3000,
        judge_every=500,
        checkpoint_every=500,
    )
