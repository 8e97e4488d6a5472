"""What SSIM and MS-SSIM look at: means, variances and the covariance within a Gaussian window.

The window is 11 x 11 with sigma 1.5 and weights that sum to 1; moments are those of a population, and only windows that
lie wholly within the picture count. With K1 = .01, K2 = .03, and C = (K span)^2:

    structure = (2 s_xy + C2) / (s_x^2 + s_y^2 + C2)    similarity = structure (2 m_x m_y + C1) / (m_x^2 + m_y^2 + C1)

References:
    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 13, 2004,
    equations 6 and 13 to 16.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

WINDOW = 11


def compare(
    x: Float[Tensor, "B C H W"], y: Float[Tensor, "B C H W"], *, span: float
) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
    """Return similarity and structure, the mean over the windows of each channel.

    Args:
        x: Pictures in float64.
        y: What they are compared with.
        span: From the least value that a picture can have to the greatest.
    """
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mx, my = _blur(x), _blur(y)
    vx, vy, vxy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    structure = (2 * vxy + c2) / (vx + vy + c2)
    similarity = structure * (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return similarity.mean(dim=(2, 3)), structure.mean(dim=(2, 3))


def _blur(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    places = torch.arange(WINDOW, dtype=pictures.dtype, device=pictures.device) - WINDOW // 2
    weights = torch.exp(-places.square() / (2 * 1.5**2))
    weights = (weights / weights.sum()).expand(pictures.shape[1], 1, 1, -1)
    rows = F.conv2d(pictures, weights, groups=pictures.shape[1])
    return F.conv2d(rows, weights.transpose(2, 3), groups=pictures.shape[1])
