"""The norms that networks choose from, and the initial weights that pix2pix and CycleGAN share."""

from typing import Literal

from torch import nn

Norm = Literal["batch", "instance", "none"]


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Return a layer that normalises this many channels; instance norm is the CycleGAN authors', without weights."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels)
        case "none":
            return nn.Identity()


def initialise(layer: nn.Module) -> None:
    """Draw one layer's weights from the global generator, as ``network.apply(initialise)`` does for all of them.

    Weights of convolutions are N(0, .02), those of batch norms N(1, .02), biases 0.
    """
    match layer:
        case nn.Conv2d() | nn.ConvTranspose2d():
            nn.init.normal_(layer.weight, mean=0, std=0.02)
        case nn.BatchNorm2d():
            nn.init.normal_(layer.weight, mean=1, std=0.02)
        case _:
            return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
