"""FID-Inception: the Inception-v3 of 2015 whose features the Fréchet Inception distance and its kin rest on.

It is TensorFlow's graph of 5 December 2015 and differs from torchvision's ``inception_v3``: 1008 classes, no auxiliary
classifier, averages that leave the padding out, and a maximum in place of the average in the pooling branch of its last
block. Features are the 2048 of the last average; 64, 192 and 768, averaged over the picture, come from earlier layers,
and a distance on them has another name. Logits are without their bias, on which the Inception Score is computed.

A picture becomes 299 x 299 by one of three rules, and figures of different rules cannot be compared:

    clean     bicubic, antialiased, clipped to 0..255, not rounded; (x - 128) / 128             [3]
    tf1       bilinear, without antialias, source = target * in / out; (x - 128) / 128          [2]
    pytorch   bilinear, without antialias, pixels have their centres; 2 x / 255 - 1             [4]

Take ``clean`` unless you have to match a figure: the two others alias, so that they see how a picture was made smaller.

References:
    [1] Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, table 1.
    [2] Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, section 2, and its TTUR code.
    [3] Parmar et al., "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022, section 3.
    [4] Seitzer, "pytorch-fid: FID Score for PyTorch", 2020, whose conversion of the weights this is.

Example:
    >>> with torch.device("meta"):
    ...     network = Network()
    >>> tensors = network.state_dict()
    >>> counters = [name for name in tensors if name.endswith("num_batches_tracked")]
    >>> len(tensors), sum(tensor.numel() for tensor in tensors.values()) - len(counters)
    (566, 23885392)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from arzhang import weights
from arzhang.downloads import Published

PUBLISHED = Published(
    name="pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=95_628_359,
    urls=(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/pt_inception-2015-12-05-6726825d.pth",
    ),
)
SIDE = 299
Prepared = Float[Tensor, "3 299 299"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """FID-Inception, the network that the Fréchet Inception distance is named after."""

    weights: Path | None = None
    """A copy of the published file, or a .safetensors file of its layout; by default it is downloaded."""
    resize: Literal["clean", "tf1", "pytorch"] = "clean"
    """How a picture becomes 299 x 299: as clean-fid, as TensorFlow 1, or as pytorch-fid does it."""
    layer: Literal[64, 192, 768, 2048] = 2048
    """Which features, by their number; FID is of 2048."""

    def build(self) -> "Inception":
        """Load the weights.

        Raises:
            ArzhangError: They are neither here nor to be had, or do not fit.
        """
        return Inception(weights.load(PUBLISHED, given=self.weights), config=self)


@final
class Inception(nn.Module):
    """The extractor: batch norms folded into convolutions, pixels stored channels last, which changes rounding only."""

    name: str
    provenance: Mapping[str, str]

    def __init__(self, loaded: weights.Weights, *, config: Config) -> None:
        super().__init__()
        self.name = loaded.label("inception" if config.layer == 2048 else f"inception-{config.layer}")
        self.provenance = {
            **loaded.provenance(),
            "resize": config.resize,
            "layer": str(config.layer),
            "logits": "without bias",
        }
        with torch.device("meta"):
            self.network = Network()
        weights.fit(self.network, loaded.tensors, source=loaded.path)
        for module in self.network.modules():
            if isinstance(module, _Convolution):
                module.fold()
        self._layer = config.layer
        self._resize = _RESIZES[config.resize]
        self.eval()

    def prepare(self, picture: UInt8[Tensor, "3 H W"]) -> Prepared:
        """Resize and normalise a picture, by the rule of the configuration."""
        return self._resize(picture)

    @torch.no_grad()
    def forward(self, prepared: Float[Tensor, "B 3 299 299"]) -> dict[str, Float[Tensor, "B _"]]:
        """Return features (of the layer of the configuration) and logits (1008, without bias)."""
        pixels = prepared.to(self.network.Conv2d_1a_3x3.conv.weight.dtype, memory_format=torch.channels_last)
        found = self.network(pixels)
        return {"features": found[str(self._layer)], "logits": found["logits"]}


@final
class Network(nn.Module):
    """The layers, under the names that torchvision has for them."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, (3, 3), halve=True)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, (3, 3), pad=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = _Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _Convolution(80, 192, (3, 3), pad=False)
        self.Mixed_5b = _Mixed(192, _FIVE, pool=_average, pooled=32)
        self.Mixed_5c = _Mixed(256, _FIVE, pool=_average, pooled=64)
        self.Mixed_5d = _Mixed(288, _FIVE, pool=_average, pooled=64)
        self.Mixed_6a = _Mixed(288, _HALVE_TO_17, pool=_halved)
        self.Mixed_6b = _Mixed(768, _six(128), pool=_average, pooled=192)
        self.Mixed_6c = _Mixed(768, _six(160), pool=_average, pooled=192)
        self.Mixed_6d = _Mixed(768, _six(160), pool=_average, pooled=192)
        self.Mixed_6e = _Mixed(768, _six(192), pool=_average, pooled=192)
        self.Mixed_7a = _Mixed(768, _HALVE_TO_8, pool=_halved)
        self.Mixed_7b = _Mixed(1280, _SEVEN, pool=_average, pooled=192)
        self.Mixed_7c = _Mixed(2048, _SEVEN, pool=_greatest, pooled=192)  # the published graph's one maximum
        self.fc = nn.Linear(2048, 1008)

    def forward(self, pixels: Float[Tensor, "B 3 299 299"]) -> dict[str, Float[Tensor, "B _"]]:
        """Return the features of all four layers, by their number, and the logits without bias."""
        found = {}
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pixels)))
        found["64"] = x = _halved(x)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        found["192"] = x = _halved(x)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        found["768"] = x
        found["2048"] = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        found = {name: x.mean(dim=(2, 3), dtype=torch.float32) for name, x in found.items()}
        return {**found, "logits": F.linear(found["2048"], self.fc.weight)}


@final
class _Convolution(nn.Module):
    """A convolution, batch norm, and a ReLU; the size stays, but where it is halved or the border is left out."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        *,
        halve: bool = False,
        pad: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if pad and not halve else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=2 if halve else 1, padding=padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Float[Tensor, "B inputs H W"]) -> Float[Tensor, "B outputs h w"]:
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Let the convolution do what the batch norm does: both are affine, once nothing is learnt."""
        norm = self.bn
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.double() - norm.running_mean.double() * scale
        weight = self.conv.weight.double() * scale[:, None, None, None]
        self.conv.weight.data = weight.float().contiguous(memory_format=torch.channels_last)
        self.conv.bias = nn.Parameter(bias.float(), requires_grad=False)
        self.bn = nn.Identity()


_Step = tuple[str, int, tuple[int, int]]
"""A convolution: its name, its outputs, its kernel."""
_Branch = tuple[Sequence[_Step], Sequence[_Step]]
"""Convolutions after one another, and those that all look at the last one's outputs and end the branch."""


@final
class _Mixed(nn.Module):
    """Branches that look at the same, side by side, joined; the last of them pools.

    Without ``pooled`` outputs for that one, all branches halve the picture.
    """

    def __init__(
        self,
        inputs: int,
        branches: Sequence[_Branch],
        *,
        pool: Callable[[Tensor], Tensor],
        pooled: int | None = None,
    ) -> None:
        super().__init__()
        self._pool = pool
        self._branches = [([name for name, *_ in trunk], [name for name, *_ in ends]) for trunk, ends in branches]
        for trunk, ends in branches:
            channels = inputs
            for name, outputs, kernel in trunk:
                self.add_module(name, _Convolution(channels, outputs, kernel))
                channels = outputs
            for name, outputs, kernel in ends:
                self.add_module(name, _Convolution(channels, outputs, kernel, halve=pooled is None))
        self.branch_pool = nn.Identity() if pooled is None else _Convolution(inputs, pooled, (1, 1))

    def forward(self, x: Float[Tensor, "B inputs H W"]) -> Float[Tensor, "B outputs h w"]:
        parts = []
        for trunk, ends in self._branches:
            seen = x
            for name in trunk:
                seen = self.get_submodule(name)(seen)
            parts += [self.get_submodule(name)(seen) for name in ends]
        return torch.cat([*parts, self.branch_pool(self._pool(x))], dim=1)


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _greatest(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


_FIVE: list[_Branch] = [
    ([], [("branch1x1", 64, (1, 1))]),
    ([("branch5x5_1", 48, (1, 1))], [("branch5x5_2", 64, (5, 5))]),
    ([("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3))], [("branch3x3dbl_3", 96, (3, 3))]),
]


def _six(width: int) -> list[_Branch]:
    return [
        ([], [("branch1x1", 192, (1, 1))]),
        ([("branch7x7_1", width, (1, 1)), ("branch7x7_2", width, (1, 7))], [("branch7x7_3", 192, (7, 1))]),
        (
            [
                ("branch7x7dbl_1", width, (1, 1)),
                ("branch7x7dbl_2", width, (7, 1)),
                ("branch7x7dbl_3", width, (1, 7)),
                ("branch7x7dbl_4", width, (7, 1)),
            ],
            [("branch7x7dbl_5", 192, (1, 7))],
        ),
    ]


_HALVE_TO_17: list[_Branch] = [
    ([], [("branch3x3", 384, (3, 3))]),
    ([("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3))], [("branch3x3dbl_3", 96, (3, 3))]),
]
_HALVE_TO_8: list[_Branch] = [
    ([("branch3x3_1", 192, (1, 1))], [("branch3x3_2", 320, (3, 3))]),
    (
        [("branch7x7x3_1", 192, (1, 1)), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1))],
        [("branch7x7x3_4", 192, (3, 3))],
    ),
]
_SEVEN: list[_Branch] = [
    ([], [("branch1x1", 320, (1, 1))]),
    ([("branch3x3_1", 384, (1, 1))], [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))]),
    (
        [("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3))],
        [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))],
    ),
]


def _clean(picture: UInt8[Tensor, "3 H W"]) -> Prepared:
    planes = [Image.fromarray(plane) for plane in picture.numpy().astype(np.float32)]
    resized = [np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for plane in planes]
    return _around_zero(torch.from_numpy(np.stack(resized)).clamp_(0, 255))


def _tf1(picture: UInt8[Tensor, "3 H W"]) -> Prepared:
    image = picture.float()
    for dim in (1, 2):
        length = image.shape[dim]
        place = torch.arange(SIDE) * torch.tensor(length / SIDE, dtype=torch.float32)
        low = place.long()
        share = (place - low).view(-1, *[1] * (2 - dim))
        near, far = image.index_select(dim, low), image.index_select(dim, (low + 1).clamp(max=length - 1))
        image = near + (far - near) * share
    return _around_zero(image)


def _pytorch(picture: UInt8[Tensor, "3 H W"]) -> Prepared:
    return 2 * F.interpolate(picture[None] / 255, (SIDE, SIDE), mode="bilinear", align_corners=False)[0] - 1


def _around_zero(image: Prepared) -> Prepared:
    return (image - 128) / 128


_RESIZES = {"clean": _clean, "tf1": _tf1, "pytorch": _pytorch}
