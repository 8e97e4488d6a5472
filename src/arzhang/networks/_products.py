"""Convolutions as products of matrices, on a CPU and for the shapes that its kernels are slow with."""

import functools
import itertools
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

MOST = 2**25
"""Numbers that are laid out at once to find a gradient of weights: 64 MB in bfloat16, or one picture's."""


def patches(
    image: Float[Tensor, "B C H W"], weight: Float[Tensor, "o C k k"], bias: Tensor | None, *, stride: int, pad: int
) -> Float[Tensor, "B o h w"]:
    """Return a convolution of a few channels, whose kernel is as many strides: its features have their channels last.

    What each output sees is tiles of a stride's side, side by side.
    """
    kernel = weight.shape[2]
    height, width = ((length + 2 * pad - kernel) // stride + 1 for length in image.shape[2:])
    down, right = (
        (outputs - 1) * stride + kernel - pad - length
        for outputs, length in zip((height, width), image.shape[2:], strict=True)
    )
    padded = functional.pad(image, (pad, right, pad, down))
    tiles = padded.unflatten(3, (-1, stride)).unflatten(2, (-1, stride)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    places = itertools.product(range(kernel // stride), repeat=2)
    seen = torch.cat([tiles[:, top : top + height, left : left + width] for top, left in places], 3)
    features = functional.linear(seen, _by_place(weight, stride).T, bias)
    return features.permute(0, 3, 1, 2)


def blocks(
    image: Float[Tensor, "B C h w"], weight: Float[Tensor, "C o k k"], *, stride: int, pad: int, more: int = 0
) -> Float[Tensor, "B o H W"]:
    """Return a transposed convolution to a few channels, whose kernel is as many strides.

    The product makes all that each pixel gives, (m s) x (m s) for a kernel of m strides s; that is m x m blocks of a
    stride's side, which are moved apart and added.
    """
    over, outputs = weight.shape[2] // stride - 1, weight.shape[1]
    product = _by_place(weight, stride) @ image.transpose(0, 1).flatten(1)
    places = list(itertools.product(range(over + 1), repeat=2))
    given = product.view(len(places), outputs, stride, stride, len(image), *image.shape[2:])
    apart = (
        functional.pad(block, (right, over - right, down, over - down))
        for (down, right), block in zip(places, given.unbind(), strict=True)
    )
    rows = functools.reduce(torch.add, apart).permute(3, 0, 4, 1, 5, 2).flatten(4).flatten(2, 3)
    height, width = (length - 2 * pad + more for length in rows.shape[2:])
    return rows[..., pad : pad + height, pad : pad + width]


def strided(image: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, pad: int, more: int | None) -> Tensor:
    """Return a convolution by the kernels, the gradient of whose weights is a product; ``more`` of a transposed one.

    In bfloat16 and with a stride, the kernels took about twice as long for that gradient where it was measured, and
    between 64 and 32 channels as long. It is not for ``torch.func``.
    """
    asked = [
        torch.ops.aten.alias(each) if each is not None and each.is_leaf and each.requires_grad else each
        for each in (image, weight, bias)
    ]
    return cast("Tensor", _Strided.apply(*asked, (stride, pad, more)))  # type: ignore[no-untyped-call]


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[int, int, int | None]
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.geometry = stride, pad, more = geometry
        if more is None:
            return functional.conv2d(image, weight, bias, stride, pad)
        return functional.conv_transpose2d(image, weight, bias, stride, pad, more)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        stride, pad, more = ctx.geometry
        kernel, transposed = weight.shape[2], more is not None
        of_image, of_weight, of_bias = [*_wanted(ctx), False][:3]
        answer: list[Tensor | None] = [None] * 4
        if of_image and transposed:
            answer[0] = functional.conv2d(gradient, weight, None, stride, pad)
        elif of_image:
            rest = [
                length - (outputs - 1) * stride + 2 * pad - kernel
                for length, outputs in zip(image.shape[2:], gradient.shape[2:], strict=True)
            ]
            answer[0] = functional.conv_transpose2d(gradient, weight, None, stride, pad, rest)
        if of_weight:
            large, small = (gradient, image) if transposed else (image, gradient)
            count = max(1, MOST // (small[0, 0].numel() * kernel**2 * large.shape[1]))
            parts = [
                _of_weights(few, pixels, kernel=kernel, stride=stride, pad=pad)
                for few, pixels in zip(large.split(count), small.split(count), strict=True)
            ]
            answer[1] = parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)  # which adds in float32
        if of_bias:
            answer[2] = gradient.sum((0, 2, 3))
        return tuple(answer)


def _of_weights(
    large: Float[Tensor, "B C H W"], small: Float[Tensor, "B o h w"], *, kernel: int, stride: int, pad: int
) -> Float[Tensor, "o C k k"]:
    """Multiply one side's pixels by what each of them sees on the other side."""
    padded = functional.pad(large.contiguous(memory_format=torch.channels_last), (pad,) * 4)
    windows = padded.permute(0, 2, 3, 1).unfold(1, kernel, stride).unfold(2, kernel, stride)
    seen = windows.permute(0, 1, 2, 4, 5, 3).flatten(3)
    product = small.permute(0, 2, 3, 1).flatten(0, 2).T @ seen.flatten(0, 2)
    weights: Tensor = product.unflatten(1, (kernel, kernel, -1)).permute(0, 3, 1, 2)
    return weights.contiguous()


def _wanted(ctx: Any) -> list[bool]:
    """Tell of each tensor whether its gradient is asked for; ``needs_input_grad`` says yes to all that learn.

    Where only some are (``backward(inputs=...)``), PyTorch's own operations leave out the rest, and a Function has to
    ask: https://github.com/pytorch/pytorch/issues/174017. Of leaves it must not ask within ``autograd.grad``. A PyTorch
    that cannot be asked gets all of them, which is right and slower.
    """
    asked = getattr(torch._C, "_will_engine_execute_node", lambda _: True)  # noqa: SLF001
    return [node is not None and asked(node) for node, _ in ctx.next_functions]


def _by_place(weight: Float[Tensor, "C o k k"], stride: int) -> Tensor:
    """Return weights as tiles of a stride's side lie: a row for each number of a tile, a column for each channel."""
    tiles: Tensor = weight.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))
    return tiles.permute(2, 4, 1, 3, 5, 0).flatten(0, 4)
