"""The Frechet distance between features: how far apart two sets of pictures are, seen as two Gaussians.

    FD = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^1/2    with means m and covariances S (divided by N - 1)

On the pool_3 features of FID-Inception it is the FID, and on others it is not. The trace of the root is the sum of the
roots of the eigenvalues of F' S2 F with S1 = F F', or, with no more samples than dimensions, the sum of the singular
values of the product of the centred samples, which is the same; there is no matrix root and no jitter.

FD lies above the distance between the distributions by about 1/N times a constant that depends on both: compare only
figures of the same numbers of samples, or take ``fid_infinity``. The interval is for the expectation of FD at these
numbers of samples, so it does not come down to 0 for equal distributions. It is found from the influence of every
sample, and, where that vanishes, of pairs (resampling would repeat samples and so change the distance itself), and is
symmetric in the logarithm. It holds down to fewer samples than dimensions.

FD sees means, scales and correlations; not what lies beyond them, nor whether pictures were copied. For few samples
take ``kid``, which has no bias.

References:
    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017,
    equation 6.
    Chong and Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", CVPR 2020, equation 5.

Example:
    >>> import torch
    >>> real, fake = torch.randn(2, 500, 4, generator=torch.Generator().manual_seed(0))
    >>> estimate = fid(real, 2 * fake)
    >>> round(estimate.value, 2), [round(end, 2) for end in estimate.interval]
    (3.38, [2.91, 3.92])
"""

from jaxtyping import Float
from torch import Tensor

from arzhang.metrics._frechet import Side, decompose, distance, few
from arzhang.metrics._intervals import logarithmic
from arzhang.metrics._sets import check, same_dimensions
from arzhang.moments import Moments
from arzhang.types import Estimate

asks = "moments"


def fid(real: Float[Tensor, "N D"] | Moments, fake: Float[Tensor, "M d"] | Moments, *, name: str = "fid") -> Estimate:
    """Return the Frechet distance between two sets, each given as features or as their moments.

    With the moments of one set there is an interval for the distance to just these moments; with those of both there
    is none.

    Args:
        real: The reference.
        fake: What is judged.
        name: What to call it, which is ``fid`` only on features of FID-Inception.

    Raises:
        ArzhangError: There are fewer than two samples in a set, a number is not finite, or the features differ in
            dimensions.
    """
    given = {"real": real, "fake": fake}
    check({each: features for each, features in given.items() if not isinstance(features, Moments)})
    sides = {each: Side.of(set_) for each, set_ in given.items()}
    same_dimensions(**{each: len(side.mean) for each, side in sides.items()})
    value, interval, method, remarks = _measured(sides["real"], sides["fake"])
    return Estimate(
        name=name,
        value=value,
        interval=interval,
        method=method,
        n={each: side.n for each, side in sides.items() if side.n is not None},
        higher_is_better=False,
        remarks=(*few(**sides), *remarks),
    )


def _measured(real: Side, fake: Side) -> tuple[float, tuple[float, float] | None, str, list[str]]:
    if real.features is None and fake.features is None:
        return distance(real, fake), None, "none: it takes samples, and only moments are known", []
    found = decompose(real, fake)
    remarks = [f"About {found.bias:.3g} of it, or more, is due to the numbers of samples, and falls as 1/N."]
    if found.value <= found.bias / 10:
        remarks = ["The sets are closer than samples of one distribution would be: they have samples in common."]
        return found.value, None, "none: the sets are not independent", remarks
    method = "influence functions to the second order, normal in the logarithm"
    if real.features is None:
        method += ", for these moments of the real set"
    if fake.features is None:
        method += ", for these moments of the fake set"
    low, high = logarithmic(found.value, found.variance(), least=found.bias)
    return found.value, (max(low, 0.0), high), method, remarks
