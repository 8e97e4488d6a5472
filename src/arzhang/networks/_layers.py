"""Convolutions that are fast for small pictures too, the norms that networks choose from, and the initial weights."""

from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from arzhang.networks import _products

FEW = 64
"""Pixels of a whole batch up to which, on a CPU, a convolution is computed as a product of matrices."""
MANY = 2**21
"""Weights from which a transposed convolution that learns no more is always computed so, on a CPU."""
THIN = 3
"""Channels up to which, on a CPU, a convolution that takes or gives them is a product of matrices."""
SMALL = 3
"""Side of a kernel up to which that is so of a convolution that gives them, which has a part for each of its pixels."""

Norm = Literal["batch", "instance", "none"]


@final
class Conv2d(nn.Conv2d):
    """A convolution, square in all it does, that becomes a product of matrices where the kernels are slow.

    That is where it has few pixels to give: there the time goes into the weights. A product reads them once, in
    float32 and as they lie; the kernels for large pictures rearrange them first, at every call. It is also where few
    channels go out, or come in and have a gradient: of few, kernels take as long as of many. And in bfloat16 the
    gradient of weights with a stride is a product. The last two are done where channels are last in memory.
    """

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B outputs h w"]:
        """Return the features."""
        kernel, stride, pad = _geometry(self)
        height, width = ((length + 2 * pad - kernel) // stride + 1 for length in image.shape[2:])
        if _few(image, len(image) * height * width):
            weight = self.weight  # once, since to look at it may be to iterate a norm
            with torch.autocast("cpu", enabled=False):
                seen = functional.unfold(image.to(weight.dtype), kernel, padding=pad, stride=stride)
                return _offset(_product(weight.flatten(1), seen).unflatten(2, (height, width)), self.bias)
        if not (_eager(image) and _has_channels_last(image)):
            return super().forward(image)
        if self.in_channels <= THIN and image.requires_grad and stride > 1 and kernel % stride == 0:
            return _products.patches(_as_computed(image), self.weight, self.bias, stride=stride, pad=pad)
        if self.out_channels <= THIN and stride == 1 and pad < kernel <= SMALL:
            weight = self.weight.flip(2, 3).transpose(0, 1)
            return _offset(_products.blocks(image, weight, stride=1, pad=kernel - 1 - pad), self.bias)
        if stride > 1 and _learns_in_bfloat16(image):
            return _products.strided(*_in_bfloat16(image, self), stride=stride, pad=pad, more=None)
        return super().forward(image)


@final
class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that becomes a product of matrices where it is given few pixels, or gives few channels.

    Of few channels the kernels take as long as of many.
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
            if self._thin(image):
                return _offset(_products.blocks(image, self.weight, stride=stride, pad=pad, more=more), self.bias)
            return self._kernels(image)
        with torch.autocast("cpu", enabled=False):
            seen = _product(self.weight.flatten(1).T, image.to(self.weight.dtype).flatten(2))
            features = functional.fold(seen, (height, width), kernel, padding=pad, stride=stride)
            return _offset(features.clone(), self.bias)  # fold's result holds as much memory as its input

    def _kernels(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B outputs H W"]:
        """Add the bias by itself while it learns on a CPU, where kernels with one are slow backwards."""
        _, stride, pad = _geometry(self)
        more = int(self.output_padding[0])
        if stride > 1 and _eager(image) and _has_channels_last(image) and _learns_in_bfloat16(image):
            return _products.strided(*_in_bfloat16(image, self), stride=stride, pad=pad, more=more)
        if image.is_cuda or self.bias is None or not torch.is_grad_enabled():
            return super().forward(image)
        features = functional.conv_transpose2d(image, self.weight, None, stride, pad, more, self.groups, self.dilation)
        return _offset(features, self.bias)

    def _thin(self, image: Tensor) -> bool:
        """Tell whether blocks are faster, in the precisions for which that is known."""
        kernel, stride, pad = _geometry(self)
        return (
            self.out_channels <= THIN
            and kernel % stride == 0
            and int(self.output_padding[0]) <= pad
            and self.weight.dtype not in (torch.bfloat16, torch.float16)  # autocast keeps them in float32
            and _eager(image)
        )


@final
class Flatten(nn.Flatten):
    """Flattening whose gradient has its channels last on a CPU, where the features have; PyTorch's own has not."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:  # noqa: A002 - PyTorch's name
        """Return each picture's features in a row."""
        if input.requires_grad and not input.is_contiguous() and _eager(input):
            input.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
        features: Tensor = super().forward(input)
        return features


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


def channels_last(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Return pictures with their channels last in memory, which the strides tell of a single channel as well."""
    if image.shape[1] == 1:
        pixels: Tensor = image.flatten(1).unflatten(1, (*image.shape[2:], 1))
        return pixels.permute(0, 3, 1, 2)
    return image.contiguous(memory_format=torch.channels_last)


def _has_channels_last(image: Tensor) -> bool:
    """Tell it by the strides alone: PyTorch's own word is no for one channel, whatever they are."""
    return image.stride(1) == 1


def _eager(image: Tensor) -> bool:
    """Whether it is computed on a CPU as it is written, or looked at on no device as if it were."""
    return (image.is_cpu or image.is_meta) and not torch.compiler.is_compiling()


def _few(image: Tensor, pixels: int) -> bool:
    return pixels <= FEW and _eager(image)


def _learns_in_bfloat16(image: Tensor) -> bool:
    return (
        image.dtype != torch.float64  # which autocast leaves alone
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


def _in_bfloat16(image: Tensor, layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[Tensor, Tensor, Tensor | None]:
    bias = None if layer.bias is None else layer.bias.to(torch.bfloat16)
    return image.to(torch.bfloat16), layer.weight.to(torch.bfloat16), bias


def _as_computed(image: Tensor) -> Tensor:
    alone = image.dtype == torch.float64 or not torch.is_autocast_enabled("cpu")
    return image if alone else image.to(torch.get_autocast_dtype("cpu"))


def _product(weights: Tensor, columns: Float[Tensor, "B k l"]) -> Float[Tensor, "B o l"]:
    """Multiply in one product for the whole batch, whose gradient lies in memory as the weights do, unlike einsum's."""
    product: Tensor = weights @ columns.transpose(0, 1).flatten(1)
    features: Tensor = product.unflatten(1, (len(columns), columns.shape[2])).transpose(0, 1).contiguous()
    return features


def _offset(features: Tensor, bias: Tensor | None) -> Tensor:
    return features if bias is None else features + bias.to(features.dtype)[:, None, None]


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
