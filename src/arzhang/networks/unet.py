"""The U-Net of pix2pix: an encoder and a decoder, with skips between layers of the same size."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang.networks._layers import Conv2d, ConvTranspose2d, Norm, initialise, normalisation
from arzhang.types import MisuseError


@final
class UNet(nn.Module):
    """Halve a picture layer by layer, then double it back.

    Args:
        down: Layers that halve, from the outermost.
        up: Layers that double, from the innermost.
        skips: Whether a layer up also takes the features of its size from the way down.
    """

    def __init__(self, down: nn.ModuleList, up: nn.ModuleList, *, skips: bool) -> None:
        super().__init__()
        self.down = down
        self.up = up
        self.skips = skips
        self.multiple = 2 ** len(down)

    def forward(self, image: Float[Tensor, "B inputs H W"]) -> Float[Tensor, "B outputs H W"]:
        """Return the translated picture.

        Raises:
            MisuseError: A side of the pictures is not a multiple of ``multiple``.
        """
        height, width = image.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise MisuseError(
                f"The U-Net was given pictures of {height} x {width} pixels but halves them {len(self.down)} times; "
                f"scale, crop or pad their sides to multiples of {self.multiple}, or lower its depth."
            )
        beside = []
        for layer in self.down:
            image = layer(image)
            beside.append(image)  # which the next LeakyReLU overwrites, harmlessly: on the way up a ReLU follows
        beside = beside[:-1] if self.skips else []
        for layer in self.up:
            image = layer(image)
            if beside:
                image = torch.cat([beside.pop(), image], dim=1)
        return image.tanh()


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A U-Net for output that lies where the input does: the skips carry edges past the bottleneck.

    The defaults are the paper's for 256 pixels; depth 7 suits 128. The layers, their biases and norms are those of the
    authors' code, and the innermost layer down has no norm (the paper's erratum: batch norm of the single pixel there
    is zero at batch 1).

    References:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", arXiv:1611.07004, sections
        3.2.1 and 6.1.1.
        Odena et al., "Deconvolution and Checkerboard Artifacts", 2016 (resize).

    Example:
        >>> with torch.device("meta"):
        ...     network = Config().build(inputs=3, outputs=3)
        >>> network.multiple, sum(weights.numel() for weights in network.parameters())
        (256, 54413955)
    """

    depth: int = 8
    """How often the picture is halved; its sides must be multiples of 2 to this power."""
    width: int = 64
    """Channels of the outermost layer; each layer inwards has twice as many, up to eight times this."""
    norm: Norm = "batch"
    """What normalises all layers but the outermost two and the innermost on the way down."""
    dropout: float = 0.5
    """Probability of dropping a feature, the only source of variety that pix2pix has."""
    dropout_at: Literal["paper", "port"] = "paper"
    """Of the depth - 4 layers up that give eight times the width: the innermost three, or all but the innermost."""
    upsample: Literal["transposed", "resize"] = "transposed"
    """Transposed convolutions, or enlargement and a convolution, which leaves no checkerboard."""
    skips: bool = True
    """Whether the way up sees the way down; without, it is the paper's encoder-decoder."""

    def build(self, *, inputs: int, outputs: int) -> UNet:
        """Make the network for these numbers of channels.

        Raises:
            MisuseError: There is no layer, no channel, or ``dropout`` is no probability.
        """
        if min(self.depth, self.width) < 1:
            raise MisuseError(f"The U-Net has a depth of {self.depth} and a width of {self.width}; give it at least 1.")
        if not 0 <= self.dropout <= 1:
            raise MisuseError(f"The U-Net has a dropout of {self.dropout}; give it a probability, from 0 to 1.")
        widths = [self.width * min(2**i, 8) for i in range(self.depth)]
        innermost = self.depth - 1
        down = nn.ModuleList()
        for i, (outer, inner) in enumerate(pairwise([inputs, *widths])):
            normalised = 0 < i < innermost
            down.append(
                nn.Sequential(
                    nn.LeakyReLU(0.2, inplace=True) if i > 0 else nn.Identity(),
                    Conv2d(outer, inner, 4, stride=2, padding=1, bias=normalised and self.norm == "none"),
                    normalisation(self.norm if normalised else "none", inner),
                )
            )
        wide = range(4, self.depth)[::-1]
        dropping = wide[:3] if self.dropout_at == "paper" else wide[1:]
        up = nn.ModuleList()
        for i, (outer, inner) in reversed(list(enumerate(pairwise([outputs, *widths])))):
            norm = self.norm if i > 0 else "none"
            skip = inner if self.skips and i < innermost else 0
            up.append(
                nn.Sequential(
                    nn.ReLU(inplace=True),
                    self._upsample(inner + skip, outer, bias=norm == "none"),
                    normalisation(norm, outer),
                    nn.Dropout(self.dropout) if i in dropping else nn.Identity(),
                )
            )
        return UNet(down, up, skips=self.skips).apply(initialise)

    def _upsample(self, inputs: int, outputs: int, *, bias: bool) -> nn.Module:
        if self.upsample == "transposed":
            return ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
        return nn.Sequential(nn.Upsample(scale_factor=2), Conv2d(inputs, outputs, 3, padding=1, bias=bias))
