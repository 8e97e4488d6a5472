"""The Jensen-Shannon divergence.

    JS(p, q) = 1/2 KL(p, m) + 1/2 KL(q, m),    m = (p + q) / 2

In nats, from 0 to log 2, symmetric; its root is a metric. It is what the discriminator of a minimax GAN measures. No
closed form is known, not even of Gaussians: it is estimated, with values that are bounded.

References:
    Lin, "Divergence measures based on the Shannon entropy", 1991, section 4.
    Goodfellow et al., "Generative adversarial nets", NeurIPS 2014, theorem 1.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> jensen_shannon(Normal(1.0, 1.0), Normal(0.0, 1.0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    arzhang.types.MisuseError: The Jensen-Shannon divergence of Normal and Normal has no closed form...
"""

import math

from torch.distributions import Distribution
from torch.nn.functional import softplus

from arzhang.distributions import common_batch
from arzhang.divergences._estimates import Sampled, estimated, no_closed_form
from arzhang.types import Estimated, Estimator


def jensen_shannon(
    p: Distribution, q: Distribution, *, estimator: Estimator | None = None, samples: int = 1000
) -> Estimated:
    """Return the divergence, for each element of the batch.

    Args:
        p: One distribution.
        q: The other.
        estimator: Estimates it, with its standard error and the estimator's gradient.
        samples: How many the estimator draws from either.

    Raises:
        MisuseError: There is no estimator, or the shapes do not fit.
    """
    common_batch(p, q)
    if estimator is None:
        raise no_closed_form("Jensen-Shannon divergence", p, q)
    drawn = Sampled(p, q, estimator, samples)
    ours = drawn.mean(lambda x: LOG_2 - softplus(-drawn.log_ratio(x)), drawn.p)
    theirs = drawn.mean(lambda x: LOG_2 - softplus(drawn.log_ratio(x)), drawn.q)
    return estimated(lambda under_p, under_q: (under_p + under_q) / 2, ours, theirs)


LOG_2 = math.log(2)
