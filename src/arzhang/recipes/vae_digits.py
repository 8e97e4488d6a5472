"""A variational autoencoder that needs no download."""

from arzhang.data import digits
from arzhang.models import vae as model
from arzhang.networks import conv_decoder, conv_encoder
from arzhang.run import Adam, Run


def vae_digits() -> Run:
    """A VAE on scikit-learn's digits: latents and samples within a minute, without network or GPU."""
    return Run(
        model=model.Config(size=16, encoder=conv_encoder.Config(width=16), decoder=conv_decoder.Config(width=16)),
        data=digits.Config(size=16),
        optimiser=Adam(rate=3e-3, betas=(0.9, 0.999), schedule="cosine"),
        batch=64,
        steps=2000,
        ema=0.99,
        best="nll",
        judge_every=500,
        checkpoint_every=500,
    )
