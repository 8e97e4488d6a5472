"""The CLIP maximum mean discrepancy: a distance under a Gaussian kernel, which takes nothing to be Gaussian.

    CMMD = 1000 MMD^2 with k(x, y) = exp(-|x - y|^2 / (2 sigma^2)), sigma = 10, of features of length 1

As published it is on features of CLIP (ViT-L/14 at 336 pixels), and with the pairs of a sample with itself: it lies
above the distance between the distributions by less than 1000 / sigma^2 (1/N + 1/M). The interval is for its
expectation at these numbers of samples.

The kernel is nearly flat over features of length 1, so that it sees their means and little of their scatter. It settles
with fewer samples than ``fid``, which sees both.

References:
    Jayasumana et al., "Rethinking FID: Towards a Better Evaluation Metric for Image Generation", CVPR 2024, equation 4
    and section 4.

Example:
    >>> import torch
    >>> real, fake = torch.randn(2, 500, 4, generator=torch.Generator().manual_seed(0))
    >>> estimate = cmmd(real, fake + 1)
    >>> round(estimate.value, 2), [round(end, 2) for end in estimate.interval]
    (4.89, [4.27, 5.61])
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from arzhang.metrics._intervals import logarithmic
from arzhang.metrics._mmd import discrepancy, variance
from arzhang.metrics._sets import check
from arzhang.types import Estimate

asks = "features"
SIGMA = 10


def cmmd(real: Float[Tensor, "N D"], fake: Float[Tensor, "M d"]) -> Estimate:
    """Return the discrepancy between two sets of features.

    Args:
        real: The reference.
        fake: What is judged.

    Raises:
        ArzhangError: There are fewer than four samples in a set, a number is not finite, or the features differ in
            dimensions.
    """
    check({"real": real, "fake": fake}, least=4)
    n, m = len(real), len(fake)
    found = discrepancy(F.normalize(real.double()), F.normalize(fake.double()), _gaussian)
    bias = found.bias(n, m)
    low, high = logarithmic(found.unbiased + bias, variance([found], n, m), least=bias)
    return Estimate(
        name="cmmd",
        value=1000 * (found.unbiased + bias),
        interval=(1000 * max(low, 0.0), 1000 * high),
        method="the variance of U statistics, normal in the logarithm",
        n={"real": n, "fake": m},
        higher_is_better=False,
    )


def _gaussian(products: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    return products.sub_(1).div_(SIGMA**2).expm1_()  # less 1, which the three means cancel, and rounding with it
