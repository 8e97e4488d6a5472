"""AlexNet: a small classifier of ImageNet, on which LPIPS agrees best with people.

Five convolutions, then three linear layers; torchvision's variant, with 64 outputs in the first. Features are the 4096
of the last layer but one; LPIPS looks at all five convolutions (64, 192, 384, 256, 256). A Fréchet distance on its
features is no FID.

References:
    Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, 2014. The weights
    are torchvision's.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from arzhang import weights
from arzhang.downloads import Published
from arzhang.features._imagenet import Classifier

PUBLISHED = Published(
    name="alexnet-owt-7be5be79.pth",
    sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    size=244_408_911,
    urls=("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """AlexNet with torchvision's weights."""

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
    with torch.device("meta"):
        features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 1000),
        )
    return Classifier(features, classifier, grid=6, after=(1, 4, 7, 9, 11), smallest=31, loaded=loaded, name="alexnet")
