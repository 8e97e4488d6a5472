"""A variational autoencoder of binarised MNIST."""

from arzhang.data import mnist
from arzhang.models import vae as model
from arzhang.networks import conv_decoder, conv_encoder
from arzhang.run import Adam, Run


def vae_mnist() -> Run:
    """A VAE with 10 latents and a prior that is a mixture, on dynamically binarised MNIST: minutes on two cores."""
    return Run(
        model=model.Config(
            encoder=conv_encoder.Config(width=16, features=256),
            decoder=conv_decoder.Config(features=256),
            prior="mixture",
        ),
        data=mnist.Config(binarise="dynamic"),
        optimiser=Adam(rate=5e-3, betas=(0.9, 0.999), schedule="cosine"),
        batch=64,
        steps=10_000,
        ema=0.999,
        best="nll",
        log_every=100,
        judge_every=2000,
        checkpoint_every=2000,
    )
