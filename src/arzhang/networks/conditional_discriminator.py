"""The conditional discriminator: a picture and a condition become one logit, positive for real and fitting."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from arzhang.networks._layers import Conv2d, Flatten, channels_last, initialise
from arzhang.networks._residual import widths
from arzhang.networks._sizes import halved
from arzhang.types import MisuseError

Conditioning = Literal["projection", "concatenation"]


@final
class Projection(nn.Linear):
    """What features say of a condition: y . V phi, with the weights of a layer from y, the transpose of V."""

    def forward(self, features: Float[Tensor, "B F"], condition: Float[Tensor, "B K"]) -> Float[Tensor, "B 1"]:  # type: ignore[override]
        """Return it for each picture."""
        return (condition * (features @ self.weight)).sum(1, keepdim=True)


@final
class Discriminator(nn.Module):
    """Convolutions that halve the picture and look at what is left, and one logit of it.

    Args:
        layers: From a picture to features.
        plain: From features to what says "real", whatever the condition.
        condition: From features and condition to what one says of the other, or from the condition to a channel.
        conditioning: Which of the two.
    """

    def __init__(
        self, layers: nn.Sequential, plain: nn.Module, condition: nn.Module, *, conditioning: Conditioning
    ) -> None:
        super().__init__()
        self.layers, self.plain, self.condition, self.conditioning = layers, plain, condition, conditioning

    def forward(self, image: Float[Tensor, "B C H W"], condition: Float[Tensor, "B K"]) -> Float[Tensor, "B 1 1 1"]:
        """Return the logit of each picture."""
        if self.conditioning == "concatenation":
            seen = self.condition(condition)
            image = torch.cat([image, seen.unflatten(1, (1, *image.shape[2:])).to(image)], 1)
        features = self.layers(image if image.is_cuda else channels_last(image))
        logits: Tensor = self.plain(features)
        if self.conditioning == "projection":
            logits = logits + self.condition(features, condition)
        return logits[:, :, None, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    r"""A convolutional discriminator with a condition, for a base times two to the power of the depth.

    With features phi(x), a projection gives the logit psi . phi(x) + y . V phi(x): the log-ratio of p(x) to q(x), plus
    that of p(y|x) to q(y|x), if the latter is linear in the features. A concatenation gives the condition as one more
    channel of the picture, and leaves the rest to the layers.

    References:
        Miyato and Koyama, "cGANs with projection discriminator", ICLR 2018, equation 3.
        Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014, section 3.2.
        Miyato, Kataoka, Koyama and Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR 2018.

    Example:
        >>> network = Config().build(inputs=1, labels=10, size=28)
        >>> network(torch.zeros(2, 1, 28, 28), torch.eye(10)[[3, 7]]).shape
        torch.Size([2, 1, 1, 1])
    """

    depth: int = 2
    """How often the sides are halved."""
    width: int = 64
    """Channels of the outermost layer; each layer inwards has twice as many, up to eight times this."""
    convolutions: int = 1
    """Convolutions of 3 x 3 after the last halving, which see how the parts of a picture fit together."""
    conditioning: Conditioning = "projection"
    """How the condition is seen: as an inner product with the features, or as one more channel of the picture."""
    spectral: bool = True
    """Whether every convolution is divided by its greatest singular value, so that features have a bounded slope."""

    def build(self, *, inputs: int, labels: int, size: int) -> Discriminator:
        """Make the network for these numbers of channels and of the condition, and pixels of each side.

        Raises:
            MisuseError: There is no layer or channel, a negative number of convolutions, or the size is no multiple of
                two to the power of the depth.
        """
        if self.width < 1 or self.convolutions < 0:
            raise MisuseError(
                f"The discriminator has a width of {self.width} and {self.convolutions} more convolutions; give a "
                "width of at least 1, and no negative number of convolutions."
            )
        side = halved(size, depth=self.depth)
        projected = self.conditioning == "projection"
        channels = [inputs if projected else inputs + 1, *widths(self.width, self.depth)]
        features = channels[-1] * side**2
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):  # what follows a product, a view, is slow in place
            layers += [Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=bool(layers))]
        for _ in range(self.convolutions):
            layers += [Conv2d(channels[-1], channels[-1], 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        network = Discriminator(
            nn.Sequential(*layers, Flatten()),
            nn.Linear(features, 1),
            (Projection(labels, features, bias=False) if projected else nn.Linear(labels, size**2, bias=False)),
            conditioning=self.conditioning,
        )
        network.apply(initialise)
        if self.spectral:
            for layer in layers:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)
        return network
