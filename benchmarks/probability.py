"""Gradients a sample at a time, and Cauchy-Schwarz with a mixture, against how it is done without this package.

    python -m benchmarks.probability [pathwise | score | forward | gradient] [--json]

`pathwise` and `score` take 10^6 gradients (`N`) of E (m z)^2 for the mean and the deviation of a Gaussian, by
`gradients.gradient_samples`, by `torch.func.vmap` of `grad`, and by a loop in Python; the loop takes 1000 of them, and
its seconds are scaled to as many. `forward` and `gradient` take the divergence of 4096 diagonal Gaussians (`BATCH`) in
64 dimensions from a mixture of 500 (`COMPONENTS`), without gradients and with those of all parameters, against the
naive broadcast to Gaussians x components x dimensions; what is there before the work begins is a row, too, since the
peak is that of a process. Without a word all four are measured. Names in capitals are read from the environment.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from arzhang.distributions import GaussianMixture
from arzhang.divergences import cauchy_schwarz
from arzhang.estimators import pathwise, score_function
from arzhang.gradients import gradient_samples
from arzhang.types import Estimator

sys.path.insert(0, str(Path(__file__).parent))  # for whoever starts this as a module
import _interleave

N, LOOPS = int(os.environ.get("N", "1000000")), 1000
BATCH, COMPONENTS, D = int(os.environ.get("BATCH", "4096")), int(os.environ.get("COMPONENTS", "500")), 64
MU, SIGMA, M = 0.7, 1.3, 1.9


def f(z: Tensor) -> Tensor:
    """Return (m z)^2."""
    return (M * z).square()


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def at_once(estimator: Estimator) -> Callable[[], float]:
    """Prepare this package's way."""
    q = Normal(torch.tensor(MU), torch.tensor(SIGMA))
    return partial(timed, lambda: gradient_samples(estimator, f, q, n=N))


def pathwise_term(mu: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """Return what has the pathwise gradient of one sample."""
    return f(mu + sigma * eps)


def score_term(mu: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """Return what has the score function's gradient of one sample."""
    z = (mu + sigma * eps).detach()
    return f(z) * (-0.5 * ((z - mu) / sigma).square() - sigma.log())


def mapped(term: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], float]:
    """Prepare torch.func's way."""
    mu, sigma = torch.tensor(MU), torch.tensor(SIGMA)
    each = torch.func.vmap(torch.func.grad(term, argnums=(0, 1)), in_dims=(None, None, 0))
    return partial(timed, lambda: each(mu, sigma, torch.randn(N)))


def looped(term: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], float]:
    """Prepare a loop, whose seconds are scaled."""
    mu, sigma = torch.tensor(MU, requires_grad=True), torch.tensor(SIGMA, requires_grad=True)

    def loop() -> None:
        for _ in range(LOOPS):
            torch.autograd.grad(term(mu, sigma, torch.randn(())), (mu, sigma))

    return lambda: timed(loop) * N / LOOPS


def parts() -> list[Tensor]:
    """Draw means and deviations of the Gaussians, and means, deviations and logits of the mixture."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(rows, D, generator=generator) for rows in (BATCH, BATCH, COMPONENTS, COMPONENTS)]
    mean, scale, loc, width = drawn
    return [mean, (scale / 4).exp(), loc, (width / 4).exp(), torch.randn(COMPONENTS, generator=generator)]


def ours(mean: Tensor, scale: Tensor, loc: Tensor, width: Tensor, logits: Tensor) -> Tensor:
    """Return the divergence by this package."""
    prior = GaussianMixture(logits=logits, loc=loc, scale=width)
    return cauchy_schwarz(Independent(Normal(mean, scale), 1), prior)


def naive(mean: Tensor, scale: Tensor, loc: Tensor, width: Tensor, logits: Tensor) -> Tensor:
    """Return the divergence by broadcasts."""

    def pairs(m: Tensor, s: Tensor) -> Tensor:
        deviation = (s[:, None].square() + width.square()).sqrt()
        return Normal(loc, deviation, validate_args=False).log_prob(m[:, None]).sum(-1) + log_w

    log_w = logits.log_softmax(0)
    across = pairs(mean, scale).logsumexp(1)
    mixture = (pairs(loc, width) + log_w[:, None]).logsumexp((0, 1))
    own = -0.5 * (4 * torch.pi * scale.square()).log().sum(1)
    return 0.5 * (own + mixture) - across


def diverging(way: Callable[..., Tensor] | None, *, gradient: bool) -> Callable[[], float]:
    """Prepare a divergence, with gradients of all five parts or without any."""
    given = [part.requires_grad_(gradient) for part in parts()]
    if way is None:
        return lambda: 0.0
    if gradient:
        return partial(timed, lambda: torch.autograd.grad(way(*given).sum(), given))
    return partial(timed, lambda: way(*given))


def rows(*, gradient: bool) -> dict[str, _interleave.Setup]:
    """Return the variants of the divergence."""
    kind = ", gradient" if gradient else ""
    ways = {"cauchy_schwarz": ours, "broadcast": naive, "nothing": None}
    return {f"{name}{kind}": partial(diverging, way, gradient=gradient) for name, way in ways.items()}


GROUPS = {
    "pathwise": (
        f"Pathwise gradients of {N} samples",
        {
            "gradient_samples, pathwise": partial(at_once, pathwise),
            "vmap of grad, pathwise": partial(mapped, pathwise_term),
            "loop, pathwise": partial(looped, pathwise_term),
        },
        7,
    ),
    "score": (
        f"Score function gradients of {N} samples",
        {
            "gradient_samples, score": partial(at_once, score_function),
            "vmap of grad, score": partial(mapped, score_term),
            "loop, score": partial(looped, score_term),
        },
        7,
    ),
    "forward": (f"Cauchy-Schwarz, {BATCH} Gaussians, {COMPONENTS} components", rows(gradient=False), 5),
    "gradient": (f"Cauchy-Schwarz with gradients, {BATCH} Gaussians, {COMPONENTS} components", rows(gradient=True), 5),
}

if __name__ == "__main__":
    chosen = [sys.argv.pop(1)] if sys.argv[1:2] and sys.argv[1] in GROUPS else list(GROUPS)
    if sys.argv[1:2] == ["--variant"]:
        known = {name: setup for _, variants, _ in GROUPS.values() for name, setup in variants.items()}
        _interleave.main("", known, rounds=1)
    else:
        for group in chosen:
            title, variants, rounds = GROUPS[group]
            _interleave.main(title, variants, rounds=rounds)
