"""The peak signal-to-noise ratio: how small the mean square error is, in decibels.

    PSNR = 10 log10(span^2 / MSE)

MSE is the mean over the pixels and channels of one picture, and the figure is the mean over pictures of their ratios,
not the ratio of the mean. It says how near the pixels are and little of how a picture looks: the mean of what could be,
a blur, is its best answer. For super-resolution it is customary on luma within a border (``_luma``).

The interval is Student's, of independent pairs; the mean has no bias. The ratio of identical pictures is infinite, and
so is then the mean.

Example:
    >>> import torch
    >>> one, other = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), torch.tensor([[[[3.0, 2.0], [1.0, 0.0]]]])
    >>> f"{psnr(one, other, span=3.0).value:.6f} dB"
    '2.552725 dB'
"""

import math

from jaxtyping import Float
from torch import Tensor

from arzhang.metrics import _mean, _pairs
from arzhang.types import Estimate

asks = "pairs"


def each(
    output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"], *, span: float = 2.0
) -> Float[Tensor, " B"]:
    """Return the ratio of each pair, in dB and float64.

    Args:
        output: The pictures made.
        target: The pictures wanted.
        span: From the least value that a picture can have to the greatest: 2 for [-1, 1].

    Raises:
        MisuseError: The two differ in size.
    """
    _pairs.check(output, target)
    errors = (output.double() - target.double()).square().mean(dim=(1, 2, 3))
    return 10 * (span**2 / errors).log10()


def psnr(output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"], *, span: float = 2.0) -> Estimate:
    """Return the mean ratio.

    Args:
        output: The pictures made.
        target: The pictures wanted.
        span: From the least value that a picture can have to the greatest: 2 for [-1, 1].

    Raises:
        MisuseError: The two differ in size.
    """
    return told(each(output, target, span=span))


def told(ratios: Float[Tensor, " N"]) -> Estimate:
    """Return the mean of the ratios of pairs."""
    differ = ratios[~ratios.isposinf()]
    same = len(ratios) - len(differ)
    if not same:
        return _mean.mean(ratios, name="psnr", higher_is_better=True, unit="dB")
    rest = f"; the mean of the others is {differ.mean().item():.4g} dB" if len(differ) else ""
    return Estimate(
        name="psnr",
        value=math.inf,
        interval=None,
        method="none: the mean is infinite",
        n={"pairs": len(ratios)},
        higher_is_better=True,
        unit="dB",
        remarks=(f"{same} of {len(ratios)} pairs are identical, so that their ratio is infinite{rest}.",),
    )
