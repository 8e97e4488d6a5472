"""Convolutions that are fast for small pictures too, the norms that networks choose from, and the initial weights."""

from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

FEW = 64
"""Pixels of a whole batch up to which, on a CPU, a convolution is computed as a product of matrices."""
MANY = 2**21
"""Weights from which a transposed convolution that learns no more is always computed so, on a CPU."""

Norm = Literal["batch", "instance", "none"]


@final
class Conv2d(nn.Conv2d):
    """A convolution, square in all it does, that becomes a product of matrices where it has few pixels to give.

    There the time goes into the weights. A product reads them once, in float32 and as they lie; the kernels for large
    pictures rearrange them first, at every call.
    """

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B outputs h w"]:
        """Return the features."""
        kernel, stride, pad = _geometry(self)
        height, width = ((length + 2 * pad - kernel) // stride + 1 for length in image.shape[2:])
        if not _few(image, len(image) * height * width):
            return super().forward(image)
        with torch.autocast("cpu", enabled=False):
            patches = functional.unfold(image.to(self.weight.dtype), kernel, padding=pad, stride=stride)
            features = _product(self.weight.flatten(1), patches).unflatten(2, (height, width))
            return _offset(features, self.bias)


@final
class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that becomes a product of matrices where it is given few pixels."""

    def hold_for_inference(self) -> None:
        """Lay many weights out in memory as the product reads them, which then beats the kernels for any picture."""
        if self.weight.is_cpu and self.weight.numel() >= MANY:
            self.weight.data = self.weight.data.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)

    def forward(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B outputs H W"]:  # type: ignore[override]
        """Return the features."""
        kernel, stride, pad = _geometry(self)
        more = int(self.output_padding[0])
        height, width = ((length - 1) * stride - 2 * pad + kernel + more for length in image.shape[2:])
        held = self.weight.stride(0) == 1
        if not _few(image, 0 if held else image[:, 0].numel()):
            return super().forward(image)
        with torch.autocast("cpu", enabled=False):
            patches = _product(self.weight.flatten(1).T, image.to(self.weight.dtype).flatten(2))
            features = functional.fold(patches, (height, width), kernel, padding=pad, stride=stride)
            return _offset(features.clone(), self.bias)  # fold's result holds as much memory as its input


@final
class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm that leaves channels last where they are, on a CPU; PyTorch's own moves them, twice."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:  # noqa: A002 - PyTorch's name
        """Return each channel of each picture with mean 0 and deviation 1."""
        if input.is_cuda or not input.is_contiguous(memory_format=torch.channels_last):
            return super().forward(input)
        normal = [functional.batch_norm(each, None, None, training=True, eps=self.eps) for each in input.split(1)]
        return normal[0] if len(normal) == 1 else torch.cat(normal)


def _geometry(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int, int]:
    return layer.kernel_size[0], layer.stride[0], int(layer.padding[0])


def _few(image: Tensor, pixels: int) -> bool:
    return not image.is_cuda and pixels <= FEW and not torch.compiler.is_compiling()


def _product(weights: Tensor, columns: Float[Tensor, "B k l"]) -> Float[Tensor, "B o l"]:
    """Multiply in one product for the whole batch, whose gradient lies in memory as the weights do, unlike einsum's."""
    product: Tensor = weights @ columns.transpose(0, 1).flatten(1)
    features: Tensor = product.unflatten(1, (len(columns), -1)).transpose(0, 1).contiguous()
    return features


def _offset(features: Tensor, bias: Tensor | None) -> Tensor:
    return features if bias is None else features + bias[:, None, None]


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Return a layer that normalises this many channels; instance norm is the CycleGAN authors', without weights."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return InstanceNorm2d(channels)
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
