"""The structural similarity at five scales: how alike two pictures are, seen from near and from far.

    MS-SSIM = SSIM_5^.1333 prod_j structure_j^w_j    w = .0448, .2856, .3001, .2363 for scales j = 1 to 4

structure_j is the mean of (2 s_xy + C2) / (s_x^2 + s_y^2 + C2) over the windows of SSIM, at least 0; each scale is the
last one after 2 x 2 average pooling, where an odd side ends in a smaller square. The mean is over channels. The smaller
side has more than 160 pixels, which leaves a window at the last scale. It agrees with viewers better than SSIM where
pictures differ at several scales, and reads closer to 1.

The interval is Student's, of independent pairs; the mean has no bias.

References:
    Wang et al., "Multiscale Structural Similarity for Image Quality Assessment", Asilomar 2003, equation 7.

Example:
    >>> import torch
    >>> picture = torch.linspace(-1, 1, 161 * 161).reshape(1, 1, 161, 161)
    >>> ms_ssim(picture, picture).value
    1.0
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from arzhang.metrics import _mean, _pairs, _structure
from arzhang.types import Estimate

asks = "pairs"
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SMALLEST = (_structure.WINDOW - 1) * 2 ** (len(_WEIGHTS) - 1) + 1


def each(
    output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"], *, span: float = 2.0
) -> Float[Tensor, " B"]:
    """Return the similarity of each pair at five scales, in float64.

    Args:
        output: The pictures made.
        target: The pictures wanted.
        span: From the least value that a picture can have to the greatest: 2 for [-1, 1].

    Raises:
        MisuseError: The two differ in size, or have a side of 160 pixels or less.
    """
    _pairs.check(output, target, smallest=_SMALLEST)
    x, y = output.double(), target.double()
    product = torch.ones((), dtype=x.dtype, device=x.device)
    for weight in _WEIGHTS[:-1]:
        _, structure = _structure.compare(x, y, span=span)
        product = product * structure.clamp_min(0) ** weight
        x, y = (F.avg_pool2d(pictures, 2, ceil_mode=True) for pictures in (x, y))
    similarity, _ = _structure.compare(x, y, span=span)
    return (product * similarity.clamp_min(0) ** _WEIGHTS[-1]).mean(dim=1)


def ms_ssim(output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"], *, span: float = 2.0) -> Estimate:
    """Return the mean similarity at five scales.

    Args:
        output: The pictures made.
        target: The pictures wanted.
        span: From the least value that a picture can have to the greatest: 2 for [-1, 1].

    Raises:
        MisuseError: The two differ in size, or have a side of 160 pixels or less.
    """
    return told(each(output, target, span=span))


def told(values: Float[Tensor, " N"]) -> Estimate:
    """Return the mean of what each pair has."""
    return _mean.mean(values, name="ms-ssim", higher_is_better=True)
