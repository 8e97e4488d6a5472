"""What metrics of pairs of pictures ask of them."""

from jaxtyping import Float
from torch import Tensor

from arzhang.types import MisuseError


def check(output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"], *, smallest: int = 1) -> None:
    """Refuse pictures that are not of one size, or smaller than what a metric looks through.

    Raises:
        MisuseError: They are.
    """
    if output.shape != target.shape:
        found = " and ".join(" x ".join(map(str, pictures.shape)) for pictures in (output, target))
        raise MisuseError(
            f"Pictures that are compared should have one size; found {found}. Resize or crop one of them."
        )
    height, width = output.shape[2:]
    if min(height, width) < smallest:
        raise MisuseError(
            f"This metric looks through windows, so that the smaller side should be {smallest} or more; found "
            f"{height} x {width}. Take larger pictures, or another metric."
        )
