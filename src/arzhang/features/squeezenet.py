"""SqueezeNet 1.1: a classifier of ImageNet of five megabytes, for machines on which nothing larger can be had.

A fire is ReLU(1 x 1), which squeezes, and then ReLU(1 x 1) and ReLU(3 x 3) side by side, which expand. Features are the
512 of the last fire, averaged over the picture; logits are the last convolution's after its ReLU, averaged, so none is
negative. LPIPS looks at seven layers (64, 128, 256, 384, 384, 512, 512).

There are two sets of weights. They are two networks, whose figures cannot be compared:

    squeezenet               the authors', of Caffe: a folder of two .npz files, which the user names. Pictures are
                             227 x 227, BGR, 0..255 less a mean; maxima leave out what does not fill a window
    squeezenet-torchvision   torchvision's: pictures as for its other classifiers; maxima do not leave it out

The published heads of LPIPS belong to the second. A Fréchet distance on either is no FID.

References:
    Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
    arXiv:1602.07360, 2016, figure 1, and its version 1.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from arzhang import images, weights
from arzhang.downloads import Published, sha256
from arzhang.features import _imagenet
from arzhang.types import ArzhangError

PUBLISHED = Published(
    name="squeezenet1_1-b8a52dc0.pth",
    sha256="b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
    size=4_958_839,
    urls=("https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",),
)
CAFFE = ("squeezenet_v1.1_features_f32.npz", "squeezenet_v1.1_conv10_u8.npz")
_SIDE = 227
_MEAN = (103.939, 116.779, 123.68)
_FIRES = {"fire2": 3, "fire3": 4, "fire4": 6, "fire5": 7, "fire6": 9, "fire7": 10, "fire8": 11, "fire9": 12}
"""The names of Caffe, and torchvision's numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """SqueezeNet 1.1 with the authors' weights, from a folder, or torchvision's."""

    weights: Path | None = None
    """The folder of the authors' two .npz files, or a copy of torchvision's file; by default the latter, downloaded."""

    def build(self) -> "SqueezeNet":
        """Load the weights.

        Raises:
            ArzhangError: They are neither here nor to be had, or do not fit.
        """
        if self.weights is not None and self.weights.is_dir():
            return SqueezeNet(_caffe(self.weights), caffe=True)
        return SqueezeNet(weights.load(PUBLISHED, given=self.weights), caffe=False)


@final
class SqueezeNet(nn.Module):
    """The extractor, under the names that torchvision has for its layers."""

    name: str
    provenance: Mapping[str, str]

    def __init__(self, loaded: weights.Weights, *, caffe: bool) -> None:
        super().__init__()
        self.name = "squeezenet" if caffe else loaded.label("squeezenet-torchvision")
        self.provenance = {
            **loaded.provenance(),
            "resize": "bilinear, antialiased, to 227 x 227" if caffe else "bilinear, antialiased, to 256, centre 224",
            "layer": "fire9, averaged",
        }
        self.smallest = 31 if caffe else 17
        self._caffe = caffe

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, stride=2, ceil_mode=not caffe)

        with torch.device("meta"):
            self.features = nn.Sequential(
                nn.Conv2d(3, 64, 3, stride=2),
                nn.ReLU(inplace=True),
                pool(),
                _Fire(64, 16, 64),
                _Fire(128, 16, 64),
                pool(),
                _Fire(128, 32, 128),
                _Fire(256, 32, 128),
                pool(),
                _Fire(256, 48, 192),
                _Fire(384, 48, 192),
                _Fire(384, 64, 256),
                _Fire(512, 64, 256),
            )
            self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(inplace=True))
        weights.fit(self, loaded.tensors, source=loaded.path)

    def prepare(self, picture: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "3 h w"]:
        """Resize a picture, to [-1, 1]."""
        if not self._caffe:
            return _imagenet.cropped(picture)
        whole = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        return images.to_tensor(images.from_pil(whole), channels=3)

    def taps(self, image: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return what LPIPS looks at, of pictures of any size in [-1, 1]."""
        return list(_imagenet.seen(self.features, self._normalised(image), after=(1, 4, 7, 9, 10, 11, 12)))

    @torch.no_grad()
    def forward(self, prepared: Float[Tensor, "B 3 h w"]) -> dict[str, Float[Tensor, "B _"]]:
        """Return features (512) and logits (1000, none negative)."""
        last = self.features(self._normalised(prepared))
        return {"features": last.mean(dim=(2, 3)), "logits": self.classifier(last).mean(dim=(2, 3))}

    def _normalised(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        if not self._caffe:
            return _imagenet.normalised(image)
        return 127.5 * (image.flip(1) + 1) - image.new_tensor(_MEAN).view(3, 1, 1)


@final
class _Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Float[Tensor, "B inputs H W"]) -> Float[Tensor, "B outputs H W"]:
        squeezed = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], dim=1).relu()


def _caffe(folder: Path) -> weights.Weights:
    """Read the authors' weights under torchvision's names."""
    tensors: dict[str, Tensor] = {}
    features, classifier = (folder / name for name in CAFFE)
    try:
        with np.load(features, allow_pickle=False) as arrays:
            for key in arrays.files:
                layer, kind = key.rsplit(".", 1)
                fire, _, part = layer.partition("/")
                name = f"features.{_FIRES[fire]}.{part.replace('squeeze1x1', 'squeeze')}" if part else "features.0"
                tensors[f"{name}.{'weight' if kind == 'W' else 'bias'}"] = _kernel(arrays[key])
        with np.load(classifier, allow_pickle=False) as arrays:
            for key, name in (("kernel", "weight"), ("bias", "bias")):
                least, most = arrays[f"{key}_minmax"]
                tensors[f"classifier.1.{name}"] = _kernel(least + arrays[f"{key}_u8"] * (most - least) / 255)
    except Exception as error:  # whatever a damaged file raises
        raise ArzhangError(
            f"{folder} does not hold SqueezeNet's weights ({error}); two files are expected there: "
            f"{' and '.join(CAFFE)}."
        ) from error
    digest = " ".join(sha256(path) for path in (features, classifier))
    return weights.Weights(tensors=tensors, path=folder, sha256=digest, published=True)


def _kernel(array: np.ndarray) -> Tensor:
    """Turn a kernel of (height, width, inputs, outputs), or a bias, into torch's order."""
    tensor = torch.from_numpy(array.astype(np.float32))
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor
