"""Convolutions that are fast for small pictures too, the norms that networks choose from, and the initial weights."""

import functools
import itertools
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

FEW = 64
"""Pixels of a whole batch up to which, on a CPU, a convolution is computed as a product of matrices."""
MANY = 2**21
"""Weights from which a transposed convolution that learns no more is always computed so, on a CPU."""
THIN = 3
"""Channels up to which, on a CPU, a transposed convolution that gives them is a product and a sum of its parts."""

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
    """A transposed convolution that becomes a product of matrices where it is given few pixels, or gives few channels.

    Of few channels the kernels take as long as of many. The product makes all that each pixel gives, (m s) x (m s) for
    a kernel of m strides s; that is m x m blocks of a stride's side, which are moved apart and added.
    """

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
            return self._blocks(image) if self._thin(image) else self._kernels(image)
        with torch.autocast("cpu", enabled=False):
            patches = _product(self.weight.flatten(1).T, image.to(self.weight.dtype).flatten(2))
            features = functional.fold(patches, (height, width), kernel, padding=pad, stride=stride)
            return _offset(features.clone(), self.bias)  # fold's result holds as much memory as its input

    def _kernels(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B outputs H W"]:
        """Add the bias by itself while it learns on a CPU, where kernels with one are slow backwards."""
        if image.is_cuda or self.bias is None or not torch.is_grad_enabled():
            return super().forward(image)
        pad: Any = self.padding
        features = functional.conv_transpose2d(
            image, self.weight, None, self.stride, pad, self.output_padding, self.groups, self.dilation
        )
        return _offset(features, self.bias.to(features.dtype))

    def _thin(self, image: Tensor) -> bool:
        """Tell whether blocks are faster, in the precisions for which that is known."""
        kernel, stride, pad = _geometry(self)
        return (
            not image.is_cuda
            and self.out_channels <= THIN
            and kernel % stride == 0
            and int(self.output_padding[0]) <= pad
            and self.weight.dtype not in (torch.bfloat16, torch.float16)  # autocast keeps them in float32
            and not torch.compiler.is_compiling()
        )

    def _blocks(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B outputs H W"]:
        kernel, stride, pad = _geometry(self)
        more, over = int(self.output_padding[0]), kernel // stride - 1
        weights = self.weight.unflatten(3, (-1, stride)).unflatten(2, (-1, stride)).permute(2, 4, 1, 3, 5, 0)
        product = weights.flatten(0, 4) @ image.transpose(0, 1).flatten(1)
        places = list(itertools.product(range(over + 1), repeat=2))
        blocks = product.view(len(places), self.out_channels, stride, stride, len(image), *image.shape[2:])
        apart = (
            functional.pad(block, (right, over - right, down, over - down))
            for (down, right), block in zip(places, blocks.unbind(), strict=True)
        )
        rows = functools.reduce(torch.add, apart).permute(3, 0, 4, 1, 5, 2).flatten(4).flatten(2, 3)
        height, width = (length - 2 * pad + more for length in rows.shape[2:])
        bias = None if self.bias is None else self.bias.to(rows.dtype)
        return _offset(rows[..., pad : pad + height, pad : pad + width], bias)


@final
class ReflectionPad2d(nn.ReflectionPad2d):
    """Reflected padding that keeps 16 bits, which autocast on a CPU would widen to copy them."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:  # noqa: A002 - PyTorch's name
        """Return the padded picture."""
        with torch.autocast("cpu", enabled=False):
            return super().forward(input)


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
    features: Tensor = product.unflatten(1, (len(columns), columns.shape[2])).transpose(0, 1).contiguous()
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
