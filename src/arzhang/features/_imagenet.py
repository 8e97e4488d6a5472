"""What the classifiers of ImageNet share: how a picture becomes theirs, and how they are looked into.

Prepared pictures are RGB in [-1, 1], as everywhere in the package; what a network subtracts and divides by is its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from arzhang import images, weights

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet, black 0 and white 1."""


def cropped(picture: UInt8[Tensor, "3 H W"], *, shorter: int = 256, side: int = 224) -> Float[Tensor, "3 h w"]:
    """Resize the shorter side (bilinear, antialiased) and cut out the central square, as torchvision does."""
    height, width = picture.shape[1:]
    size = (shorter * width // min(height, width), shorter * height // min(height, width))
    resized = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize(size, Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2) for length in size)
    return images.to_tensor(images.from_pil(resized.crop((left, top, left + side, top + side))), channels=3)


def normalised(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Return (x - m) / s, for the mean m and the deviation s of ImageNet where black is -1 and white 1."""
    mean, deviation = (image.new_tensor(each).view(3, 1, 1) for each in (MEAN, DEVIATION))
    return (image - (2 * mean - 1)) / (2 * deviation)


def seen(
    layers: nn.Sequential, image: Float[Tensor, "B _ H W"], *, after: Sequence[int]
) -> Iterator[Float[Tensor, "B _ _ _"]]:
    """Yield what some of the layers give, by their place; those behind the last of them are not computed."""
    for place, layer in enumerate(list(layers)[: max(after) + 1]):
        image = layer(image)
        if place in after:
            yield image


@final
class Classifier(nn.Module):
    """A classifier of torchvision, with its names, whose last layer but one is the features.

    Args:
        features: Its convolutions.
        classifier: Its linear layers, of which the last gives the logits.
        grid: Pixels of each side to which the convolutions' outputs are averaged.
        after: The layers whose outputs LPIPS looks at.
        smallest: The least side of a picture that they can look at.
        loaded: Its weights.
        name: What it is called.
    """

    name: str
    provenance: Mapping[str, str]

    def __init__(
        self,
        features: nn.Sequential,
        classifier: nn.Sequential,
        *,
        grid: int,
        after: Sequence[int],
        smallest: int,
        loaded: weights.Weights,
        name: str,
    ) -> None:
        super().__init__()
        self.name = loaded.label(name)
        self.provenance = {
            **loaded.provenance(),
            "resize": "bilinear, antialiased, to 256, centre 224",
            "layer": "last but one",
        }
        self.smallest = smallest
        self.features, self.classifier = features, classifier
        self._pool = nn.AdaptiveAvgPool2d(grid)
        self._after = after
        weights.fit(self, loaded.tensors, source=loaded.path)

    def prepare(self, picture: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "3 224 224"]:
        """Resize the shorter side to 256 and cut out the centre."""
        return cropped(picture)

    def taps(self, image: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return what LPIPS looks at, of pictures of any size in [-1, 1]."""
        return list(seen(self.features, normalised(image), after=self._after))

    @torch.no_grad()
    def forward(self, prepared: Float[Tensor, "B 3 h w"]) -> dict[str, Float[Tensor, "B _"]]:
        """Return features (4096) and logits (1000)."""
        features = self.classifier[:-1](self._pool(self.features(normalised(prepared))).flatten(1))
        return {"features": features, "logits": self.classifier[-1](features)}
