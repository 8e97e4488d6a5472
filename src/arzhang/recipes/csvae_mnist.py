"""A Cauchy-Schwarz autoencoder of binarised MNIST, with a prior that is a mixture."""

from dataclasses import replace

from arzhang.models import vae as model
from arzhang.networks import conv_decoder, conv_encoder
from arzhang.recipes.vae_mnist import vae_mnist
from arzhang.run import Run


def csvae_mnist() -> Run:
    """A Cauchy-Schwarz autoencoder on binarised MNIST: its prior is a mixture that learns, its divergence closed."""
    return replace(
        vae_mnist(),
        model=model.Config(
            encoder=conv_encoder.Config(width=16, features=256),
            decoder=conv_decoder.Config(features=256),
            divergence="cauchy-schwarz",
            weight=2.0,
            prior="mixture",
        ),
    )
