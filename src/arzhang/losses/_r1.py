"""R1, a penalty that any adversarial loss may have besides: the discriminator's slope at real pictures.

References:
    Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do actually Converge?", ICML 2018, equation 9.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang.losses._adversarial import Logits, Scalar


def r1(critic: Callable[[Float[Tensor, "B C H W"]], Logits], real: Float[Tensor, "B C H W"]) -> Scalar:
    """Return E |grad D(x)|^2 over real pictures; published is half of it, times a gamma of 10.

    Example:
        >>> r1(lambda picture: 3 * picture[:, :1, :1, :1], torch.zeros(2, 3, 8, 8))
        tensor(9.)
    """
    device = "cuda" if real.is_cuda else "cpu"  # the meta device knows no autocast
    # Second derivatives need full precision, and do not go through what is compiled.
    with torch.autocast(device, enabled=False), torch.compiler.set_stance("force_eager"):
        at = real.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(critic(at).mean((1, 2, 3)).sum(), at, create_graph=True)
        penalty: Tensor = slopes.square().sum((1, 2, 3)).mean()
        return penalty
