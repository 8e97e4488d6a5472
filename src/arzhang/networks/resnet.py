"""The ResNet generator of CycleGAN: it halves a picture twice, changes it in residual blocks, and doubles it back."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang.networks._layers import Conv2d, ConvTranspose2d, Norm, ReflectionPad2d, initialise, normalisation
from arzhang.types import MisuseError

LAYOUT = torch.channels_last
"""In which convolutions of many pixels are fastest on a CPU."""


@final
class ResNet(nn.Module):
    """Layers one after another, from a picture to a picture of the same size.

    Args:
        layers: All but the last nonlinearity, which is a hyperbolic tangent.
        global_skip: Whether they make what is added to the picture.
    """

    def __init__(self, layers: nn.Sequential, *, global_skip: bool) -> None:
        super().__init__()
        self.layers, self.global_skip = layers, global_skip
        self.multiple, self.least = 4, 8

    def forward(self, image: Float[Tensor, "B inputs H W"]) -> Float[Tensor, "B outputs H W"]:
        """Return the translated picture.

        Raises:
            MisuseError: A side of the pictures is no multiple of 4, or too small to be reflected at its border.
        """
        height, width = image.shape[-2:]
        if height % 4 or width % 4 or min(height, width) < 8:
            raise MisuseError(
                f"The ResNet was given pictures of {height} x {width} pixels but halves them twice; "
                "scale, crop or pad their sides to multiples of 4, at least 8."
            )
        if not image.is_cuda:
            image = image.contiguous(memory_format=LAYOUT)
        made: Tensor = self.layers(image).tanh()
        return (image + made).clamp(-1, 1) if self.global_skip else made


@final
class Block(nn.Module):
    """What is added to the features: two convolutions of 3 x 3, without a nonlinearity after the sum."""

    def __init__(self, width: int, *, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(width, width, 3, norm=norm),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            *_convolution(width, width, 3, norm=norm)[:-1],
        )

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the sum."""
        added: Tensor = self.layers(features)
        return features + added


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A ResNet for changes of texture, colour and light: it has no bottleneck, and so little that it has to invent.

    Nine blocks are published for 256 pixels, six for 128. All padding is reflected, but that of the layers that halve.
    Where a norm brings an offset, convolutions have none; instance norm undoes theirs, but it is published so.

    References:
        Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer", ECCV 2016, supplement.
        Zhu, Park, Isola and Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
        arXiv:1703.10593, section 7.2.
        Odena et al., "Deconvolution and Checkerboard Artifacts", 2016 (resize).
        Kupyn et al., "DeblurGAN: Blind Motion Deblurring Using Conditional Adversarial Networks", CVPR 2018, section
        3.2 (global skip).

    Example:
        >>> with torch.device("meta"):
        ...     network = Config().build(inputs=3, outputs=3)
        >>> sum(weights.numel() for weights in network.parameters())
        11378179
    """

    blocks: int = 9
    """Residual blocks."""
    width: int = 64
    """Channels of the outermost layers; the blocks have four times as many."""
    norm: Norm = "instance"
    """What normalises all layers but the last; without, weights begin as PyTorch's layers do, and not as N(0, .02)."""
    dropout: float = 0.0
    """Probability of dropping a feature inside a block, which is noise where a game has none of its own."""
    upsample: Literal["transposed", "resize"] = "transposed"
    """Transposed convolutions, or enlargement and a convolution, which leaves no checkerboard."""
    global_skip: bool = False
    """Whether what is made is added to the picture, and cut off where that leaves the range; what stays is then sharp.
    It begins near the picture without a norm, and far from it with one; not for drawings in black and white."""

    def build(self, *, inputs: int, outputs: int) -> ResNet:
        """Make the network for these numbers of channels.

        Raises:
            MisuseError: There is no block, no channel, ``dropout`` is no probability, or what is made cannot be added
                to a picture of another number of channels.
        """
        if min(self.blocks, self.width) < 1:
            raise MisuseError(f"The ResNet has {self.blocks} blocks and a width of {self.width}; give it at least 1.")
        if not 0 <= self.dropout <= 1:
            raise MisuseError(f"The ResNet has a dropout of {self.dropout}; give it a probability, from 0 to 1.")
        if self.global_skip and inputs != outputs:
            raise MisuseError(
                f"The ResNet cannot add {outputs} channels to a picture of {inputs}: leave global_skip out."
            )
        width, bias = self.width, self.norm != "batch"
        layers = nn.Sequential(
            *_convolution(inputs, width, 7, norm=self.norm),
            *_halving(width, 2 * width, norm=self.norm, bias=bias),
            *_halving(2 * width, 4 * width, norm=self.norm, bias=bias),
            *(Block(4 * width, norm=self.norm, dropout=self.dropout) for _ in range(self.blocks)),
            *self._doubling(4 * width, 2 * width, bias=bias),
            *self._doubling(2 * width, width, bias=bias),
            ReflectionPad2d(3),
            Conv2d(width, outputs, 7),
        )
        if self.norm != "none":  # without one, features of narrow networks would fade
            layers.apply(initialise)
        return ResNet(layers, global_skip=self.global_skip)

    def _doubling(self, inputs: int, outputs: int, *, bias: bool) -> list[nn.Module]:
        layers: list[nn.Module]
        if self.upsample == "transposed":
            layers = [ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=bias)]
        else:
            layers = [
                nn.Upsample(scale_factor=2),
                ReflectionPad2d(1),
                Conv2d(inputs, outputs, 3, bias=bias),
            ]
        return [*layers, normalisation(self.norm, outputs), nn.ReLU(inplace=True)]


def _convolution(inputs: int, outputs: int, kernel: int, *, norm: Norm) -> list[nn.Module]:
    return [
        ReflectionPad2d(kernel // 2),
        Conv2d(inputs, outputs, kernel, bias=norm != "batch"),
        normalisation(norm, outputs),
        nn.ReLU(inplace=True),
    ]


def _halving(inputs: int, outputs: int, *, norm: Norm, bias: bool) -> list[nn.Module]:
    return [
        Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=bias),
        normalisation(norm, outputs),
        nn.ReLU(inplace=True),
    ]
