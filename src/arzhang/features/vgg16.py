"""VGG-16: a classifier of ImageNet, through whose convolutions LPIPS and style losses look.

Thirteen 3 x 3 convolutions in five blocks with maxima between them, then three linear layers. Features are the 4096 of
the last layer but one; LPIPS looks at the last convolution of each block (64, 128, 256, 512, 512). It is the slowest of
LPIPS's three networks, and the one that the perceptual path length is defined on. A Fréchet distance on its features is
no FID.

References:
    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1,
    column D. The weights are torchvision's.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from arzhang import weights
from arzhang.downloads import Published
from arzhang.features._imagenet import Classifier

PUBLISHED = Published(
    name="vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    size=553_433_881,
    urls=("https://download.pytorch.org/models/vgg16-397923af.pth",),
)
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """VGG-16 with torchvision's weights."""

    weights: Path | None = None
    """A copy of the published file, or a .safetensors file of its layout; by default it is downloaded."""

    def build(self) -> Classifier:
        """Load the weights.

        Raises:
            ArzhangError: They are neither here nor to be had, or do not fit.
        """
        return network(weights.load(PUBLISHED, given=self.weights))


def network(loaded: weights.Weights) -> Classifier:
    """Make the network with these weights."""
    layers: list[nn.Module] = []
    inputs = 3
    with torch.device("meta"):
        for block in _BLOCKS:
            for outputs in block:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )
    return Classifier(
        nn.Sequential(*layers), classifier, grid=7, after=(3, 8, 15, 22, 29), smallest=16, loaded=loaded, name="vgg16"
    )
