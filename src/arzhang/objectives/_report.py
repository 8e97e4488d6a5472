"""What a variational objective says of each x, and what it is made of."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from arzhang.types import Estimated


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A variational objective for each x, in nats, taken to pieces in two ways; each with its standard error.

        objective = reconstruction - weight * divergence
                  = log_likelihood - posterior_kl + prior_kl - weight * divergence
        evidence_bound = reconstruction - prior_kl = log_likelihood - posterior_kl

    With KL and a weight of 1 the objective is the evidence bound. With another divergence it is no bound, and never a
    likelihood: what may be compared between models is ``log_likelihood``.

    Args:
        objective: What is maximised.
        reconstruction: E_q log p(x|z).
        divergence: That of q from the prior which the objective has.
        weight: Its weight (lambda).
        evidence_bound: E_q[log p(x|z)] - KL(q, prior), which no log p(x) is below.
        prior_kl: KL(q(z|x), prior); its error is 0 where there is a closed form.
        posterior_kl: KL(q(z|x), p(z|x)): how far q is from the model's posterior.
        log_likelihood: log p(x) by importance sampling.
        effective_samples: How many samples of the posterior those of q were worth: below about 100, doubt the
            likelihood and its error.
    """

    objective: Estimated
    reconstruction: Estimated
    divergence: Estimated
    weight: float
    evidence_bound: Estimated
    prior_kl: Estimated
    posterior_kl: Estimated
    log_likelihood: Estimated
    effective_samples: Float[Tensor, "B"]
