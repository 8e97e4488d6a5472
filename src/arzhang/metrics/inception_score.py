"""The Inception Score: whether a classifier is sure of every picture and sees all classes in equal number.

    IS = exp(E KL(p(y|x) || p(y))) = exp(H(y) - H(y|x)),    from 1 to the number of classes

p(y|x) is the softmax of the logits, on FID-Inception those without bias, of 1008 classes, and p(y) its mean over the
samples. As published there are 10 splits, in the order of the samples, and the mean over them is taken; their standard
deviation, which is published beside it, is among the remarks. The score of few samples is another than that of many, so
that 10 splits give another than one. The interval is for the expectation at this number of samples and splits, from
every split without one sample after the other.

It looks at no real picture, does not see that each class is one picture over and over, and means little outside of the
classifier's domain. Report it for comparison with old papers.

References:
    Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016, section 4.
    Barratt and Sharma, "A Note on the Inception Score", arXiv:1801.01973.
    Efron and Stein, "The jackknife estimate of variance", 1981, equation 1.3.

Example:
    >>> import torch
    >>> round(inception_score(100 * torch.eye(5).repeat(20, 1)).value, 9)
    5.0
"""

from statistics import fmean, pstdev

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang.metrics._intervals import normal
from arzhang.metrics._sets import check
from arzhang.types import Estimate

short = "is"
asks = "logits"


def inception_score(logits: Float[Tensor, "N K"], *, splits: int = 10) -> Estimate:
    """Return the Inception Score of generated pictures' logits.

    Args:
        logits: Of the classifier, in an order that has nothing to do with the pictures.
        splits: Into how many parts of equal size, or nearly, the samples are divided.

    Raises:
        ArzhangError: There are fewer than two samples for every split, or a number is not finite.
    """
    check({"fake": logits}, least=2 * splits)
    n = len(logits)
    parts = [_score(logits[i * n // splits : (i + 1) * n // splits]) for i in range(splits)]
    scores, variances = zip(*parts, strict=True)
    value = fmean(scores)
    return Estimate(
        name="is",
        value=value,
        interval=normal(value, fmean(variances) / splits),
        method="a jackknife in every split, normal",
        n={"fake": n},
        higher_is_better=True,
        remarks=(f"The standard deviation over {splits} splits is {pstdev(scores):.3g}.",) if splits > 1 else (),
    )


def _score(logits: Float[Tensor, "N K"]) -> tuple[float, float]:
    """Return the score and its variance."""
    n = len(logits)
    conditional = logits.double().softmax(1)
    entropies, total = torch.special.entr(conditional).sum(1), conditional.sum(0)
    score = (torch.special.entr(total / n).sum() - entropies.mean()).exp()
    others = (total - conditional).clamp_min(0) / (n - 1)
    without = (torch.special.entr(others).sum(1) - (entropies.sum() - entropies) / (n - 1)).exp()
    return float(score), float(without.var()) * (n - 1) ** 2 / n
