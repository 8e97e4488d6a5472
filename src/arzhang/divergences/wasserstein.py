"""The squared Wasserstein distance of order 2.

    W^2(p, q) = min E |x - y|^2 over joint distributions of x ~ p and y ~ q
    of Gaussians: |d|^2 + tr(S + T - 2 (S^1/2 T S^1/2)^1/2)

In squared units of x: the least mean square by which mass has to move. Symmetric; the square, as in the Frechet
distance, which is this formula of the moments of features; its root is a metric. It has a gradient however far apart
they are. Closed for Gaussians; no expectation over samples of p and q estimates it, so there is no other way. Only
first derivatives are right.

References:
    Dowson and Landau, "The Frechet distance between multivariate normal distributions", 1982.
    Bhatia, Jain and Lim, "On the Bures-Wasserstein distance between positive definite matrices", 2019.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> wasserstein(Normal(1.0, 3.0), Normal(0.0, 1.0))  # 1^2 + (3 - 1)^2
    tensor(5.)
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import common_batch, described
from arzhang.divergences._gaussians import gaussians
from arzhang.types import MisuseError


def wasserstein(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]:
    """Return the square of the distance, for each element of the batch.

    Args:
        p: One Gaussian.
        q: The other.

    Raises:
        MisuseError: One of them is not a Gaussian, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    pair = gaussians(p, q)
    if pair is None:
        raise MisuseError(
            f"The Wasserstein distance of {described(p)} and {described(q)} has no closed form, and no estimator of "
            "expectations knows it: give two Gaussians, or take mmd, which samples estimate."
        )
    moved = pair.shift.square().sum(-1)
    if pair.diagonal:
        return (moved + (pair.s - pair.t).square().sum(-1)).expand(batch)
    # |L - M U|^2 with the best rotation U of the factor M, which may be taken as fixed and subtracts nothing large.
    with torch.no_grad():
        left, _, right = torch.linalg.svd(pair.t.mT.double() @ pair.s.double())
        turn = (left @ right).to(pair.s.dtype)
    return torch.add(moved, (pair.s - pair.t @ turn).square().sum((-2, -1))).expand(batch)
