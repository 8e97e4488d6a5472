"""The pathwise gradient, through the sample: reparameterization."""

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, OneHotCategoricalStraightThrough, TransformedDistribution

from arzhang.estimators._contract import at_least_one, average, differentiable, evaluate, lacking
from arzhang.estimators._method import method
from arzhang.types import Cost, Integrand

NEEDS = "a q with rsample"


def _cost(q: Distribution, *, samples: int = 1) -> Cost:  # noqa: ARG001
    return Cost(evaluations=samples, gradients=samples)


@method(unbiased=True, needs=NEEDS, cost=_cost)
def pathwise(f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, "*batch"]:
    """Return the mean of f, with the gradient that comes through the samples.

        z = g(eps, theta),    gradient = mean of f'(z) dz/dtheta

    where eps has no parameters; or, as of torch's Gamma, Beta, Dirichlet and StudentT, dz/dtheta is found implicitly
    from the distribution function, -(dF/dtheta) / (dF/dz). The first to try where f is smooth: its variance depends on
    how f bends, not on how large it is. Of a linear f and a location it is zero; of f = (m z)^2 and N(mu, 1), 4 m^4.

    Args:
        f: A differentiable function of points (N, *batch, *event), to values (N, *batch).
        q: Any distribution with rsample.
        samples: How many, for each element of the batch.

    Raises:
        MisuseError: q has no rsample, or a relaxed gradient that is not this one; f does not depend differentiably on
            its points, or returns something else than a finite value for each.

    References:
        Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, section 2.4.
        Figurnov, Mohamed and Mnih, "Implicit Reparameterization Gradients", NeurIPS 2018, equation 6.

    Example:
        >>> import torch
        >>> mu = torch.tensor(0.7, requires_grad=True)
        >>> value = pathwise(lambda z: 3 * z, torch.distributions.Normal(mu, 1.0), samples=100)
        >>> round(torch.autograd.grad(value, mu)[0].item(), 4)
        3.0
    """
    at_least_one(samples)
    inner = q
    while isinstance(inner, Independent | TransformedDistribution):
        inner = inner.base_dist
    if not q.has_rsample or isinstance(inner, OneHotCategoricalStraightThrough):
        raise lacking("The pathwise estimator", NEEDS, q, "use score_function, or for a discrete q disarm or rebar")
    # Of one sample the gradient needs no sum over samples.
    points = q.rsample().unsqueeze(0) if samples == 1 else q.rsample((samples,))
    values = evaluate(f, points, q)
    differentiable(values, points, method="The pathwise estimator")
    return average(values)
