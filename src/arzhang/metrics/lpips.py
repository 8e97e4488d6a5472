"""The learned perceptual image patch similarity: how far apart two pictures are for a network that knows pictures.

    d(x, y) = sum_l mean_hw sum_c w_lc (f^_lchw(x) - f^_lchw(y))^2,    f^ = f / |f|_c

f are the outputs of five convolutions of AlexNet or VGG-16, or of seven layers of SqueezeNet, each pixel's brought to
length 1 over the channels, and w, not negative, was fitted to what people call more alike (the heads, version 0.1).
Pictures are in [-1, 1] and not resized. 0 is the same picture; two photographs of different things are around 0.7.

It sees blur and lost texture, which the mean square hardly does, and forgives small shifts. ``alex`` agrees best with
people and is the fastest; path lengths are defined on ``vgg``. Figures of different networks cannot be compared, and
each has a name of its own: on the SqueezeNet of Caffe, whose weights are not those that the heads were fitted to, it is
``lpips-squeeze-caffe``. The interval is Student's, of independent pairs; the mean has no bias.

References:
    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, equation 1.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang import downloads, weights
from arzhang.downloads import Published
from arzhang.features import alexnet, inception, squeezenet, vgg16
from arzhang.metrics import _mean
from arzhang.types import ArzhangError, Estimate, ExtractorConfig, MisuseError

asks = "pairs"
Net = Literal["alex", "vgg", "squeeze"]
_NETWORKS: Mapping[Net, Any] = {"alex": alexnet, "vgg": vgg16, "squeeze": squeezenet}
_CHANNELS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}
_EPSILON = 1e-10  # which keeps a pixel without features from a division by 0
_AT = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/082bb24f84c091ea94de2867d34c4544f68e0963"


def _published(net: Net, sha256: str, size: int) -> Published:
    return Published(
        name=f"lpips-v0.1-{net}.pth", sha256=sha256, size=size, urls=(f"{_AT}/lpips/weights/v0.1/{net}.pth",)
    )


HEADS = {
    "alex": _published("alex", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0", 6_009),
    "vgg": _published("vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", 7_289),
    "squeeze": _published("squeeze", "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76", 10_811),
}
"""As their authors published them."""
AS_NPZ = {
    "alex": "a9a43154a47d4792e446458327351227f3af3cc3c819f07b17f692bb6f31c90a",
    "vgg": "9f41d1c6ad7eab554b62d66b2f562e6e2b3566bf7af62bfe4f6c965bdef349c4",
    "squeeze": "13fcea5d4f6ad30698458ae0120ce6514f5ffcd7df12debd0b80dbdbada8e077",
}
"""SHA-256 of the same numbers as files ``lin_<net>.npz``."""


def load(net: Net = "alex", *, network: Path | None = None, heads: Path | None = None) -> "Lpips":
    """Load a network and its heads.

    Args:
        net: Which network.
        network: Its weights, as for `arzhang.features`; by default they are downloaded.
        heads: A folder with ``lin_<net>.npz``, or a copy of the published file; by default it is downloaded.

    Raises:
        ArzhangError: A file is neither here nor to be had, or does not fit.
    """
    if heads is not None and heads.is_dir():
        found = _of_npz(heads / f"lin_{net}.npz", AS_NPZ[net])
    else:
        found = weights.load(HEADS[net], given=heads, instead="--heads FILE")
    return Lpips(net, _NETWORKS[net].Config(weights=network).build(), found)


def through(features: ExtractorConfig, *, heads: Path | None = None) -> "Lpips":
    """Load the network that a Config says, and its heads; AlexNet where it says Inception, the default of commands.

    Raises:
        MisuseError: There are no heads for the network.
        ArzhangError: A file is neither here nor to be had, or does not fit.
    """
    if features == inception.Config():
        return load(heads=heads)
    for net, module in _NETWORKS.items():
        if isinstance(features, module.Config):
            return load(net, network=features.weights, heads=heads)
    raise MisuseError(
        "lpips looks through alexnet, vgg16 or squeezenet, for which there are heads: --features alexnet."
    )


def each(
    output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"], *, distance: "Lpips | None" = None
) -> Float[Tensor, " B"]:
    """Return the distance of each pair.

    Args:
        output: Pictures in [-1, 1], of three channels or grey.
        target: What they are compared with.
        distance: A network and its heads; by default AlexNet's, loaded once.

    Raises:
        MisuseError: The two differ in size, or are too small for the network.
        ArzhangError: The weights are neither here nor to be had.
    """
    distances: Tensor = (distance or _default())(output, target)
    return distances


def told(values: Float[Tensor, " N"], *, name: str = "lpips-alex") -> Estimate:
    """Return the mean of distances, with its interval, under the name of the network they are of."""
    return _mean.mean(values, name=name, higher_is_better=False)


def lpips(
    output: Float[Tensor, "N C H W"], target: Float[Tensor, "n c h w"], *, distance: "Lpips | None" = None
) -> Estimate:
    """Return the mean distance of pairs of pictures in [-1, 1].

    Args:
        output: Pictures, of three channels or grey.
        target: What they are compared with.
        distance: A network and its heads; by default AlexNet's, loaded once.

    Raises:
        MisuseError: The two differ in size, or are too small for the network.
        ArzhangError: The weights are neither here nor to be had.
    """
    distance = distance or _default()
    return told(each(output, target, distance=distance), name=distance.name)


@functools.cache
def _default() -> "Lpips":
    return load()


@runtime_checkable
class Perceiver(Protocol):
    """An extractor that can also be looked into."""

    name: str
    provenance: Mapping[str, str]
    smallest: int
    """The least side of a picture that it can look at."""

    def taps(self, image: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return what its layers give, of pictures in [-1, 1]."""


@final
class Lpips(nn.Module):
    """A network and its heads, from pairs of pictures in [-1, 1] to distances."""

    name: str
    provenance: Mapping[str, str]

    def __init__(self, net: Net, network: Perceiver, heads: weights.Weights) -> None:
        super().__init__()
        caffe = "-caffe" if network.name == "squeezenet" else ""
        known = heads.published and not network.name.endswith("-unpublished")
        self.name = f"lpips-{net}{caffe}{'' if known else '-unpublished'}"
        self.provenance = {
            **{key: network.provenance[key] for key in ("weights", "sha256")},
            **{f"heads_{key}": value for key, value in heads.provenance().items()},
            "version": "0.1",
        }
        self.network = network
        with torch.device("meta"):
            self.heads = _Heads(_CHANNELS[net])
        weights.fit(self.heads, heads.tensors, source=heads.path)
        self.eval()

    def forward(self, output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, " B"]:
        """Return the distance of each pair.

        Raises:
            MisuseError: The two differ in size, or are too small for the network.
        """
        if output.shape != target.shape:
            found = " and ".join(" x ".join(map(str, pictures.shape)) for pictures in (output, target))
            raise MisuseError(f"The pictures of a pair should have one size; found {found}.")
        height, width = output.shape[2:]
        if min(height, width) < self.network.smallest:
            raise MisuseError(
                f"{self.name} takes pictures of {self.network.smallest} pixels or more; found {height} x {width}."
            )
        both = torch.cat([output, target]).float().expand(-1, 3, -1, -1)
        distances: Tensor = self.heads(self.network.taps(both))
        return distances


@final
class _Heads(nn.Module):
    """What each channel of each layer weighs, under the published names."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for layer, count in enumerate(channels):
            head = nn.ModuleDict({"1": nn.Conv2d(count, 1, 1, bias=False)})
            self.add_module(f"lin{layer}", nn.ModuleDict({"model": head}))

    def forward(self, taps: Sequence[Float[Tensor, "_ _ _ _"]]) -> Float[Tensor, " B"]:
        """Return the distances of the first half of what the layers gave from the second."""
        distances = []
        for tap, weight in zip(taps, self.parameters(), strict=True):
            wide = tap.double()
            one, other = (wide / (torch.linalg.vector_norm(wide, dim=1, keepdim=True) + _EPSILON)).chunk(2)
            distances.append(((one - other).square() * weight[0]).sum(dim=1).mean(dim=(1, 2)))
        return torch.stack(distances).sum(dim=0)


def _of_npz(path: Path, published: str) -> weights.Weights:
    digest = downloads.sha256(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except Exception as error:  # whatever a damaged file raises
        raise ArzhangError(f"{path} holds no heads that can be read ({error}); fetch it again.") from error
    return weights.Weights(tensors=tensors, path=path, sha256=digest, published=digest == published)
