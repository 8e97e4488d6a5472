"""An importance-weighted autoencoder of binarised MNIST."""

from dataclasses import replace

from arzhang.models import iwae as model
from arzhang.recipes.vae_mnist import vae_mnist
from arzhang.run import Run


def iwae_mnist() -> Run:
    """An IWAE with 50 latents and 5 samples on binarised MNIST, by doubly reparameterized gradients."""
    return replace(vae_mnist(), model=model.Config())
