r"""The importance-weighted autoencoder: a VAE with a tighter bound (Burda, Grosse and Salakhutdinov, ICLR 2016).

    L_k(x) = E log 1/k sum_i w_i,    w_i = p(x|z_i) p(z_i) / q(z_i|x),    z_1 ... z_k from q(z|x)

L_1 is the VAE's bound, and L_k rises with k to log p(x). The sample that explains the picture best has the greatest
weight, so that one good guess in k is enough, and the encoder may spread. It asks for k times the decoding.

References:
    Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, equations 8 and 14.
    Tucker, Lawson, Gu and Maddison, "Doubly Reparameterized Gradient Estimators", ICLR 2019, equation 8.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from arzhang.likelihoods import bernoulli
from arzhang.models._autoencoder import Autoencoder, Prior
from arzhang.networks import conv_decoder, conv_encoder
from arzhang.objectives import importance_weighted
from arzhang.types import DecoderConfig, EncoderConfig, LikelihoodConfig, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """An importance-weighted autoencoder; the defaults are of 28 x 28 pixels, 50 latents and 5 samples."""

    encoder: EncoderConfig = conv_encoder.Config()
    """The network from pictures to features, on which linear heads of means and log-variances stand."""
    decoder: DecoderConfig = conv_decoder.Config()
    """The network from latents to what the likelihood makes pictures of."""
    likelihood: LikelihoodConfig = bernoulli.Config()
    """What that says of pictures."""
    prior: Prior = "standard-normal"
    """Of the latents: N(0, 1), or a mixture that learns, of Gaussians, or of what learnt pictures are encoded to."""
    components: int = 50
    """Of a prior that is a mixture."""
    latents: int = 50
    """How many latents explain a picture."""
    channels: int = 1
    """Channels of the pictures."""
    size: int = 28
    """Pixels of each side of the pictures."""
    k: int = 5
    """Latents that are drawn for each picture, and weighed against one another."""
    doubly_reparameterized: bool = True
    """Whether the encoder has the gradient that does not drown in noise as k grows (DReG)."""

    def build(self) -> Autoencoder:
        """Make the game, with fresh networks.

        Raises:
            MisuseError: A part cannot be, or there is no sample.
        """
        if self.k < 1:
            raise MisuseError(f"The bound is of k = {self.k} samples; give --model.k at least 1.")
        return Autoencoder(self, _Objective(config=self))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Objective:
    """What the player lowers: the bound's negative."""

    config: Config

    def __call__(self, game: Autoencoder, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        bound = importance_weighted(
            image,
            game.encode(image),
            game.prior(),
            game.given,
            samples=self.config.k,
            doubly_reparameterized=self.config.doubly_reparameterized,
        ).mean()
        return -bound, {"bound": bound}
