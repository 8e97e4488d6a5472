"""The importance-weighted bound (IWAE), with doubly reparameterized gradients on request (DReG)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import described, parameters_of, with_parameters
from arzhang.objectives._latents import Decoder, check_parts, check_samples, log_p_x, log_ratio
from arzhang.types import MisuseError


def importance_weighted(
    x: Float[Tensor, "B *event"],
    q: Distribution,
    prior: Distribution,
    decoder: Decoder,
    *,
    samples: int,
    doubly_reparameterized: bool = False,
) -> Float[Tensor, "B"]:
    """Return the importance-weighted bound on log p(x) for each x, in nats, to be maximised.

        L_k = E log 1/k sum_i w_i,    w_i = p(x|z_i) p(z_i) / q(z_i),    L_1 <= L_2 <= ... <= log p(x)

    L_1 is the evidence bound. More samples give a tighter bound and a better decoder; but the plain gradient of q's
    parameters drowns in noise as k grows (its signal falls as 1/k, its noise as 1/sqrt(k)). The doubly reparameterized
    one has the same mean and does not: choose it for k above 1. It weighs the gradient that comes through z_i by the
    square of w_i / sum w, and leaves out that of q's density.

    Args:
        x: What was seen.
        q: The encoder's distribution over latents, one for each x.
        prior: Of the latents: one for all, or one for each x.
        decoder: From latents, ``(N, B, *latent)``, to a distribution over x.
        samples: k.
        doubly_reparameterized: Whether q's parameters have the gradient of Tucker et al.

    Raises:
        MisuseError: The parts do not fit one another, x is impossible, q has parameters that learn and no rsample; or
            doubly reparameterized gradients are asked of a q that learns other than through parameters that it is made
            of, such as a flow.

    References:
        Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, equations 8, 13 and 14.
        Tucker et al., "Doubly reparameterized gradient estimators", ICLR 2019, equation 8.

    Example:
        >>> from torch.distributions import Independent, Normal
        >>> def normal(mean, scale):
        ...     return Independent(Normal(mean, scale), 1)
        >>> x, one = torch.ones(2, 1), torch.ones(1)
        >>> posterior = normal(0.4 * x, 0.2**0.5 * one)
        >>> importance_weighted(x, posterior, normal(0 * one, one), lambda z: normal(2 * z, one), samples=3)
        tensor([-1.8237, -1.8237])
    """
    check_parts(x, q, prior)
    check_samples(samples)
    if not q.has_rsample and torch.is_grad_enabled() and any(each.requires_grad for each in parameters_of(q).values()):
        raise MisuseError(
            f"The importance-weighted bound takes the gradient through samples of q, and {described(q)} has no "
            "rsample: use Variational with an estimator such as score_function."
        )
    z = (q.rsample if q.has_rsample else q.sample)(torch.Size((samples,)))
    density = _held(q, z) if doubly_reparameterized and z.requires_grad else q
    log_w = log_p_x(x, z, q, decoder, look=x.is_cpu) - log_ratio(z, density, prior, look=x.is_cpu)
    if density is not q:
        weights = log_w.detach().softmax(0)
        each = weights.reshape(*weights.shape, *[1] * len(q.event_shape))
        z.register_hook(lambda gradient: gradient * each)
    return log_w.logsumexp(0) - math.log(samples)


def _held(q: Distribution, z: Tensor) -> Distribution:
    """Return the same density, of which no gradient is wanted but through z."""
    try:
        held = with_parameters(q, {name: each.detach() for name, each in parameters_of(q).items()})
        learns = held.log_prob(z[:1].detach()).requires_grad
    except MisuseError:
        learns = True
    if learns:
        raise MisuseError(
            f"Doubly reparameterized gradients hold the density of q still, and {described(q)} learns by more than "
            "parameters that could be held (a flow's transforms, say), which would bias them: leave out "
            "doubly_reparameterized."
        )
    return held
