"""LeNet: a small classifier of handwritten digits, the judge of pictures of 28 x 28.

    5 x 5 convolution (16), ReLU, maxima of 2 x 2; the same (32); linear (128), ReLU; linear (10)

It was trained on MNIST by ``python -m arzhang.features.lenet``, in about a minute, and comes with the package, the
record of its training beside it: nothing has to be downloaded. Features are the 128 of the last layer but one, logits
are of the ten digits. Colours become luma, and other sizes 28 x 28, so that any picture can be judged; but what it has
learnt to see is digits, white on black. A Fréchet distance on its features is no FID.

References:
    LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
    IEEE 86(11), 1998, section II.B, whose LeNet-5 this follows with wider layers, ReLU and maxima.

Example:
    >>> extractor = Config().build()
    >>> black = extractor.prepare(torch.zeros(3, 28, 28, dtype=torch.uint8))
    >>> found = extractor(black[None])
    >>> found["features"].shape, found["logits"].shape
    (torch.Size([1, 128]), torch.Size([1, 10]))
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from arzhang import images, weights
from arzhang.downloads import Published

SIDE = 28
WEIGHTS = Path(__file__).with_name("lenet.safetensors")
RECORD: Mapping[str, Any] = json.loads(Path(__file__).with_name("lenet.json").read_text("utf-8"))
"""How the weights of the package were made, and how good they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A small classifier of handwritten digits, which comes with the package."""

    weights: Path | None = None
    """A .safetensors file that its training has left; by default that of the package."""

    def build(self) -> "LeNet":
        """Load the weights.

        Raises:
            ArzhangError: They cannot be read, or do not fit.
        """
        own = Published(name=WEIGHTS.name, sha256=RECORD["sha256"], size=RECORD["bytes"], urls=())
        return LeNet(weights.load(own, given=self.weights or WEIGHTS))


@final
class LeNet(nn.Module):
    """The extractor."""

    name: str
    provenance: Mapping[str, str]
    label_names = tuple("0123456789")

    def __init__(self, loaded: weights.Weights) -> None:
        super().__init__()
        self.name = loaded.label("lenet")
        self.provenance = {
            **loaded.provenance(),
            "resize": f"luma; bicubic, antialiased, to {SIDE} x {SIDE}",
            "layer": "last but one",
        }
        with torch.device("meta"):
            self.network = Network()
        weights.fit(self.network, loaded.tensors, source=loaded.path)
        self.eval()

    def prepare(self, picture: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "1 28 28"]:
        """Make a picture grey and resize it, to [-1, 1]."""
        return _grey(picture / 127.5 - 1)

    @torch.no_grad()
    def forward(self, prepared: Float[Tensor, "B 1 28 28"]) -> dict[str, Float[Tensor, "B _"]]:
        """Return features (128) and logits (10)."""
        features = self.network.features(prepared)
        return {"features": features, "logits": self.network.classifier(features)}

    @torch.no_grad()
    def distance(self, one: Float[Tensor, "B C H W"], other: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        """Return the squared distance of the features of pictures in [-1, 1], which are not rounded to 8 bits."""
        features = self.network.features(torch.stack([_grey(picture) for picture in torch.cat([one, other])]))
        distance: Tensor = (features[: len(one)] - features[len(one) :]).square().sum(1)
        return distance


def _grey(picture: Float[Tensor, "C H W"]) -> Float[Tensor, "1 28 28"]:
    grey = images.luma(picture)
    return grey if grey.shape[1:] == (SIDE, SIDE) else images.resize(grey, height=SIDE, width=SIDE)


@final
class Network(nn.Module):
    """The layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 128),
            nn.ReLU(),
            nn.Dropout(0.3),
        )
        self.classifier = nn.Linear(128, 10)

    def forward(self, pictures: Float[Tensor, "B 1 28 28"]) -> Float[Tensor, "B 10"]:
        """Return the logits."""
        logits: Tensor = self.classifier(self.features(pictures))
        return logits
