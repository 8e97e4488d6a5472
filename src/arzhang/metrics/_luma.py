"""What super-resolution is judged on: the luma of pictures, without their border.

    Y = 16 + 65.481 R + 128.553 G + 24.966 B    for R, G, B in [0, 1]

is the luma of ITU-R BT.601 in its studio range of 16 to 235, and as many pixels as the factor of enlargement are cut
from each side. PSNR and SSIM of it take ``span=255``, as is customary, although luma spans less.

References:
    ITU-R, Recommendation BT.601-7, 2011, section 3.5.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang.types import MisuseError


def luma(pictures: Float[Tensor, "B C H W"], *, border: int) -> Float[Tensor, "B 1 h w"]:
    """Return the luma of pictures in [-1, 1], in float64.

    Args:
        pictures: RGB, or grey, whose three channels are the same.
        border: Pixels to cut from each side: the factor of enlargement.

    Raises:
        MisuseError: The border leaves nothing, or the channels are neither one nor three.

    Example:
        >>> luma(torch.tensor([-1.0, 1.0]).expand(1, 3, 1, 2), border=0)
        tensor([[[[ 16., 235.]]]], dtype=torch.float64)
    """
    channels, height, width = pictures.shape[1:]
    if channels not in {1, 3}:
        raise MisuseError(f"Luma is of RGB or grey pictures; found {channels} channels.")
    if border < 0 or min(height, width) <= 2 * border:
        raise MisuseError(
            f"A border of {border} pixels should leave something of {height} x {width}; take a smaller one."
        )
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=pictures.device)
    inside = pictures[:, :, border : height - border, border : width - border].double().expand(-1, 3, -1, -1)
    return 16 + torch.einsum("bchw,c->bhw", (inside + 1) / 2, weights).unsqueeze(1)
