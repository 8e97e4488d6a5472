"""Gaussian log-densities of all pairs of rows, in bounded memory.

    l_nm = log N(x_n; m_m, s_n^2 + t_m^2) = -1/2 sum_d [(x_nd - m_md)^2 / v_nmd + log v_nmd] - D/2 log 2 pi

Pairs of diagonal Gaussians have N M D different variances, which no matrix product spares; but nobody needs them all at
once. Many pairs are worked on in blocks that stay near the processor, and their gradients are found from the rows anew.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

BLOCK = 2**18  # numbers of (n, m, d) that are worked on together; a GPU takes more at once
GPU_BLOCK = 2**26
FOLDS = 3


def log_densities(
    x: Float[Tensor, "*#batch N D"],
    s: Float[Tensor, "*#batch N D"] | None,
    m: Float[Tensor, "*#batch M D"],
    t: Float[Tensor, "*#batch M D"],
) -> Float[Tensor, "*batch N M"]:
    """Return the log-densities at x, blurred by deviations s, of Gaussians with means m and deviations t.

    Memory is that of the result and a block, in both directions, unless second derivatives are asked for.
    """
    dtype = torch.result_type(x, m)
    x, s, m, t = x.to(dtype), None if s is None else s.to(dtype), m.to(dtype), t.to(dtype)
    whole = torch.broadcast_shapes(x.shape[:-2], m.shape[:-2])
    x, s = _once(len(whole), x, s)
    m, t = _once(len(whole), m, t)
    if s is not None and math.prod(x.shape[:-2]) < math.prod(m.shape[:-2]):  # the fewer are met by all
        return log_densities(m, t, x, s).mT.expand(*whole, -1, -1)
    batch = torch.broadcast_shapes(x.shape[:-2], m.shape[:-2])
    # Rows of batch elements that meet the same Gaussians go together.
    together = [dim for dim in range(len(batch)) if m.shape[dim] == 1]
    order = [dim for dim in range(len(batch)) if m.shape[dim] != 1] + together
    n, (k, d) = x.shape[-2], m.shape[-2:]
    apart, many = math.prod(m.shape[:-2]), n * math.prod(batch[dim] for dim in together)

    def rows(each: Tensor) -> Tensor:
        return each.expand(*batch, n, d).permute(*order, -2, -1).reshape(apart, many, d)

    pairs = rows(x), None if s is None else rows(s), m.reshape(apart, k, d), t.reshape(apart, k, d)
    few = apart * many * k * d <= _limit(x)
    found: Tensor = _block(*pairs) if few else _Blocks.apply(*pairs)  # type: ignore[no-untyped-call]
    back = [order.index(dim) for dim in range(len(batch))]
    return found.reshape(*(batch[dim] for dim in order), n, k).permute(*back, -2, -1).expand(*whole, n, k)


def _once(dims: int, one: Tensor, other: Tensor | None) -> tuple[Tensor, Any]:
    """Return both with so many dimensions of batch, of size 1 where both are only expanded."""
    both = [each for each in (one, other) if each is not None]
    shape = torch.broadcast_shapes(*(each.shape for each in both))
    both = [each.expand(shape)[(None,) * (dims + 2 - len(shape))] for each in both]
    repeated = [size > 1 and all(each.stride(dim) == 0 for each in both) for dim, size in enumerate(both[0].shape[:-2])]
    both = [each[tuple(slice(0, 1) if again else slice(None) for again in repeated)] for each in both]
    return both[0], both[1] if len(both) > 1 else None


HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def _block(x: Tensor, s: Tensor | None, m: Tensor, t: Tensor) -> Tensor:
    difference = x.unsqueeze(-2) - m.unsqueeze(-3)
    if s is None:
        return -0.5 * (difference / t.unsqueeze(-3)).square().sum(-1) - (t.log() + HALF_LOG_TAU).sum(-1).unsqueeze(-2)
    variance = s.square().unsqueeze(-2) + t.square().unsqueeze(-3)
    return -0.5 * (difference.square() / variance + variance.log() + 2 * HALF_LOG_TAU).sum(-1)


class _Blocks(Function):
    """The same in blocks, which are written into the same places of memory over and over."""

    @staticmethod
    def forward(x: Tensor, s: Tensor | None, m: Tensor, t: Tensor) -> Tensor:
        squares, others = None if s is None else s.square(), t.square()
        folds = _folds(squares, others)
        found = x.new_empty(x.shape[0], x.shape[1], m.shape[1])
        for g, n, difference, variance in _places(x, m):
            torch.sub(x[g, n].unsqueeze(-2), m[g].unsqueeze(-3), out=difference)
            _variance(squares, others, g, n, out=variance)
            torch.sum(difference.square_().div_(variance), dim=-1, out=found[g, n])
            width = variance.shape[-1]
            for _ in range(folds):  # a logarithm of a product in place of two
                rest = (width + 1) // 2
                variance[..., : width // 2].mul_(variance[..., rest:width])
                width = rest
            found[g, n] += variance[..., :width].log_().sum(-1)
        return found.add_(2 * x.shape[-1] * HALF_LOG_TAU).mul_(-0.5)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        x, s, m, t = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives
            given = [each for each in (x, s, m, t) if each is not None and each.requires_grad]
            found = iter(torch.autograd.grad(_block(x, s, m, t), given, weights, create_graph=True))
            return tuple(next(found) if each is not None and each.requires_grad else None for each in (x, s, m, t))
        squares, others = None if s is None else s.square(), t.square()
        of_x, of_m, of_squares, of_others = (torch.zeros_like(each) for each in (x, m, x, m))
        for g, n, z, inverse in _places(x, m):
            weight = weights[g, n].unsqueeze(-1)
            torch.sub(x[g, n].unsqueeze(-2), m[g].unsqueeze(-3), out=z)
            _variance(squares, others, g, n, out=inverse).reciprocal_()
            slope = z.mul_(inverse) * weight
            of_x[g, n] = -slope.sum(-2)
            of_m[g] += slope.sum(-3)
            bend = slope.mul_(z).sub_(inverse.mul_(weight))
            of_squares[g, n] = 0.5 * bend.sum(-2)
            of_others[g] += 0.5 * bend.sum(-3)
        return of_x, None if s is None else 2 * s * of_squares, of_m, 2 * t * of_others


def _variance(squares: Tensor | None, others: Tensor, g: slice, n: slice, *, out: Tensor) -> Tensor:
    if squares is None:
        return out.copy_(others[g].unsqueeze(-3))
    torch.add(squares[g, n].unsqueeze(-2), others[g].unsqueeze(-3), out=out)
    return out


def _folds(squares: Tensor | None, others: Tensor) -> int:
    """Return how often variances may be multiplied pairwise, so that nothing overflows or vanishes."""
    ends = [each.aminmax() for each in (squares, others) if each is not None and each.numel()]
    least, most = (sum(float(end[side]) for end in ends) for side in (0, 1))
    if not 0 < least <= most < math.inf:
        return 0
    room = math.log(torch.finfo(others.dtype).max) / max(abs(math.log(least)), abs(math.log(most)), 1)
    return min(FOLDS, int(math.log2(max(room, 1))))


def _limit(x: Tensor) -> int:
    return BLOCK if x.is_cpu else GPU_BLOCK


def _places(x: Tensor, m: Tensor) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Yield slices of the batch and of its rows whose pairs make a block, and two places for the numbers of these."""
    groups, rows, (k, d) = x.shape[0], x.shape[1], m.shape[1:]
    several = max(_limit(x) // max(rows * k * d, 1), 1)
    most = rows if several > 1 else max(_limit(x) // max(k * d, 1), 1)
    spaces = x.new_empty(2, several * most * k * d)
    for first in range(0, groups, several):
        for row in range(0, rows, most):
            g, n = slice(first, min(first + several, groups)), slice(row, min(row + most, rows))
            shape = (g.stop - g.start, n.stop - n.start, k, d)
            one, other = (space[: math.prod(shape)].view(shape) for space in spaces)
            yield g, n, one, other
