"""The kernel distance: the squared maximum mean discrepancy under a cubic kernel, without bias.

    KID = mean over subsets of MMD^2 with k(x, y) = (x . y / D + 1)^3, without the pairs of a sample with itself

As published there are 100 subsets, each of 1000 samples of either set, or of as many as the smaller one has. What is
published beside it, the standard deviation over the subsets, is that of figures of 1000 samples and says nothing about
this mean; it is among the remarks. The interval is for the distance between the distributions: from the variance of an
unbiased figure of all samples, and of the drawing of subsets. For a hundred samples whose features are very uneven it
is a little short, and for equal distributions a little long: it holds in about 90 and 99 %.

Having no bias, it may be negative, and figures of different N can be compared: what to take for few samples. The cube
weighs outliers, and the unit has no meaning but in comparison.

References:
    Binkowski et al., "Demystifying MMD GANs", ICLR 2018, equation 4 and section 4.
    Sutherland and Deka, "Unbiased estimators for the variance of MMD estimators", arXiv:1906.02104, section 2.
    Zou and Donner, "Construction of confidence limits about effect measures", 2008, equation 8.

Example:
    >>> import torch
    >>> real, fake = torch.randn(2, 500, 4, generator=torch.Generator().manual_seed(0))
    >>> estimate = kid(real, 2 * fake)
    >>> round(estimate.value, 2), [round(end, 2) for end in estimate.interval]
    (5.38, [4.45, 6.5])
"""

import math
from statistics import fmean, stdev

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import rng
from arzhang.metrics._intervals import Z, logarithmic
from arzhang.metrics._mmd import Kernel, discrepancy, variance
from arzhang.metrics._sets import check
from arzhang.types import Estimate

asks = "features"


def kid(
    real: Float[Tensor, "N D"], fake: Float[Tensor, "M d"], *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> Estimate:
    """Return the kernel distance between two sets of features.

    Args:
        real: The reference.
        fake: What is judged.
        subsets: How many are drawn; one takes all samples, whatever the size.
        size: How many samples of each set are in one, if there are as many.
        seed: Of the subsets.

    Raises:
        ArzhangError: There are fewer than four samples in a set, a number is not finite, or the features differ in
            dimensions.
    """
    check({"real": real, "fake": fake}, least=4)
    n, m = len(real), len(fake)
    size = min(size, n, m)
    if n == m == size:
        subsets = 1
    generator, kernel = rng.generator(seed, "kid"), _cubic(real.shape[1])
    drawn = [(real, fake)]
    if subsets > 1:
        drawn = [(_subset(real, size, generator), _subset(fake, size, generator)) for _ in range(subsets)]
    found = [discrepancy(*pair, kernel) for pair in drawn]
    value = fmean(each.unbiased for each in found)
    spread = stdev(each.unbiased for each in found) if subsets > 1 else 0.0
    # The biased figure of all samples is positive, so that its logarithm is the more nearly normal.
    bias = fmean(each.bias(n, m) for each in found)
    low, high = logarithmic(value + bias, variance(found, n, m), least=bias)
    # Subsets are drawn anew from the same samples: another error, independent of that of the samples.
    drawing = Z * spread / math.sqrt(subsets)
    return Estimate(
        name="kid",
        value=value,
        interval=(value - math.hypot(value + bias - low, drawing), value + math.hypot(high - bias - value, drawing)),
        method="the variance of U statistics, normal in the logarithm, and of drawing subsets",
        n={"real": n, "fake": m},
        higher_is_better=False,
        seed=seed,
        remarks=(f"The standard deviation over {subsets} subsets of {size} is {spread:.3g}.",) if subsets > 1 else (),
    )


def _subset(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)]


def _cubic(dimensions: int) -> Kernel:
    return lambda products: products.div_(dimensions).add_(1).pow_(3)
