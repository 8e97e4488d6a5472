"""The mean of f over the other samples."""

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.types import Drawn, MisuseError


def leave_one_out(drawn: Drawn) -> Float[Tensor, "N *batch"]:
    """Return, for each of N samples, the mean of f over the N - 1 others.

        b_i = (sum of f(z_j) over j != i) / (N - 1)

    It needs no state, no evaluation more and no tuning, and is unbiased: the first to try with two samples or more.
    The estimate is that with the sample mean for a baseline, times N / (N - 1), which undoes that one's bias.

    Args:
        drawn: Values of at least two samples.

    Raises:
        MisuseError: There is one sample only, and no other.

    References:
        Kool, van Hoof and Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", ICLR workshop 2019, equation 8.

    Example:
        >>> import torch
        >>> q, values = torch.distributions.Normal(0.0, 1.0), torch.tensor([1.0, 2.0, 6.0])
        >>> leave_one_out(Drawn(q=q, values=values, apart=values[:0], apart_values=values[:0]))
        tensor([4.0000, 3.5000, 1.5000])
    """
    samples = len(drawn.values)
    _check(drawn.q, samples)
    return (drawn.values.sum(0) - drawn.values) / (samples - 1)


def _check(q: Distribution, samples: int) -> None:  # noqa: ARG001
    if samples < 2:
        raise MisuseError(f"leave_one_out has {samples} sample, and needs at least 2, to have others: raise samples.")


leave_one_out.check = _check  # type: ignore[attr-defined]
