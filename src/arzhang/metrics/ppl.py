"""The perceptual path length: how much a generator's pictures change on a straight way through its latents.

    PPL = E d(G(p(t)), G(p(t + eps))) / eps^2,    eps = 1e-4

The way p from one latent to another is an arc, after both are brought to length 1 (slerp), in z, where latents are
Gaussian, and straight (lerp) in w, which a mapping has made of them. t is uniform ("full"), or 0 ("end"), where ways in
w begin at pictures that the generator knows. d is LPIPS of VGG16 as published, on pictures that are not rounded to 8
bits: changes are smaller than that. What lies below the first percentile (or the sample below it) or above the 99th (or
the sample above it) is left out, and the rest is averaged. The interval is for the expectation of this trimmed mean,
from the variance and the skewness of what is winsorised; for a hundred ways of very different lengths it holds in 90 %.

A low PPL says that the latents are smooth, not that pictures are good: one picture for all latents has 0. Only
generators with the same latent space compare.

References:
    Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019, equations 2
    and 3.
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 3 and appendix D.
    Tukey and McLaughlin, "Less vulnerable confidence and significance procedures for location", 1963.
    Hall, "On the removal of skewness by transformation", JRSS B 54, 1992, equation 2.4.

Example:
    >>> start, end = torch.randn(2, 100, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> picture = lambda latent: latent.reshape(-1, 2, 2, 2)
    >>> squared = lambda one, other: (one - other).square().sum(dim=(1, 2, 3))
    >>> estimate = ppl(picture, squared, start, end, space="w")
    >>> torch.isclose(torch.tensor(estimate.value), (end - start).square().sum(1).mean().float(), rtol=0.05)
    tensor(True)
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from arzhang import rng
from arzhang.metrics._intervals import skewed
from arzhang.types import ArzhangError, Estimate, MisuseError

asks = "generator"
BATCH = 32  # ways that are gone together

Generator = Callable[[Float[Tensor, "B D"]], Float[Tensor, "B C H W"]]
Distance = Callable[[Float[Tensor, "B C H W"], Float[Tensor, "B C H W"]], Float[Tensor, " B"]]


@torch.no_grad()
def ppl(
    generator: Generator,
    distance: Distance,
    start: Float[Tensor, "N D"],
    end: Float[Tensor, "N D"],
    *,
    space: Literal["z", "w"] = "z",
    sampling: Literal["full", "end"] = "full",
    epsilon: float = 1e-4,
    seed: int = 0,
) -> Estimate:
    """Return the perceptual path length of a generator.

    Args:
        generator: From latents to pictures in [-1, 1]; noise of its own must be the same for both halves of a batch.
        distance: Between pictures, one value a pair.
        start: Where ways begin: Gaussian in z, and in w what the mapping has made of such.
        end: Where they end.
        space: Whether ways are arcs, in z, or straight, in w.
        sampling: Whether steps are taken anywhere on the way, or at its start.
        epsilon: The length of a step, of the way's.
        seed: Of the places.

    Raises:
        ArzhangError: A distance is not finite.
        MisuseError: There are fewer than two ways.
    """
    n = len(start)
    if n < 2:
        raise MisuseError(
            f"A perceptual path length takes at least two ways, of thousands that are usual; here are {n}."
        )
    places = torch.rand(n, 1, generator=rng.generator(seed, "ppl"), dtype=start.dtype).to(start.device)
    places = places if sampling == "full" else torch.zeros_like(places)
    way = _arc if space == "z" else torch.lerp
    lengths = []
    for first, last, t in zip(start.split(BATCH), end.split(BATCH), places.split(BATCH), strict=True):
        pictures = generator(torch.cat([way(first, last, t), way(first, last, t + epsilon)]))
        lengths.append(distance(*pictures.chunk(2)).double() / epsilon**2)
    each = torch.cat(lengths)
    if not each.isfinite().all():
        raise ArzhangError(
            f"The distance of way {int((~each.isfinite()).nonzero()[0])} is not finite: look at what is generated."
        )
    low, high = np.percentile(each.cpu(), 1, method="lower"), np.percentile(each.cpu(), 99, method="higher")
    kept = each[(each >= low) & (each <= high)]
    value = float(kept.mean())
    winsorised = each.clamp(low, high)
    variance = float(winsorised.var()) * n / len(kept) ** 2
    return Estimate(
        name="ppl",
        value=value,
        interval=skewed(value, variance, winsorised),
        method="the variance of a trimmed mean, Hall's correction of its skewness",
        n={"ways": n},
        higher_is_better=False,
        seed=seed,
        remarks=(f"In {space}, {sampling}, of steps of {epsilon:g}; {n - len(kept)} ways are left out.",),
    )


def _arc(first: Float[Tensor, "B D"], last: Float[Tensor, "B D"], t: Float[Tensor, "B 1"]) -> Float[Tensor, "B D"]:
    first, last = F.normalize(first), F.normalize(last)
    cosine = (first * last).sum(1, keepdim=True)
    across = F.normalize(last - cosine * first)
    angle = t * cosine.clamp(-1, 1).acos()
    return F.normalize(first * angle.cos() + across * angle.sin())
