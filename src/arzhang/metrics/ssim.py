"""The structural similarity: how alike two pictures are in light, contrast and structure, window by window.

    SSIM = mean of (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))

over 11 x 11 windows that lie wholly within the picture, weighted by a Gaussian of sigma 1.5, and over channels. C1 =
(.01 span)^2, C2 = (.03 span)^2; variances are those of a population. 1 is the same picture. It forgives a change of
light that PSNR does not, and, as PSNR, prefers a blurred picture to a sharp one that is slightly displaced.

The interval is Student's, of independent pairs; the mean has no bias.

References:
    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 13, 2004,
    equations 13 and 17.

Example:
    >>> import torch
    >>> picture = torch.linspace(-1, 1, 2 * 32 * 32).reshape(2, 1, 32, 32)
    >>> ssim(picture, picture).value
    1.0
"""

from jaxtyping import Float
from torch import Tensor

from arzhang.metrics import _mean, _pairs, _structure
from arzhang.types import Estimate

asks = "pairs"


def each(
    output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"], *, span: float = 2.0
) -> Float[Tensor, " B"]:
    """Return the structural similarity of each pair, in float64.

    Args:
        output: The pictures made.
        target: The pictures wanted.
        span: From the least value that a picture can have to the greatest: 2 for [-1, 1].

    Raises:
        MisuseError: The two differ in size, or are smaller than a window.
    """
    _pairs.check(output, target, smallest=_structure.WINDOW)
    similarity, _ = _structure.compare(output.double(), target.double(), span=span)
    return similarity.mean(dim=1)


def ssim(output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"], *, span: float = 2.0) -> Estimate:
    """Return the mean structural similarity.

    Args:
        output: The pictures made.
        target: The pictures wanted.
        span: From the least value that a picture can have to the greatest: 2 for [-1, 1].

    Raises:
        MisuseError: The two differ in size, or are smaller than a window.
    """
    return told(each(output, target, span=span))


def told(values: Float[Tensor, " N"]) -> Estimate:
    """Return the mean of what each pair has."""
    return _mean.mean(values, name="ssim", higher_is_better=True)
