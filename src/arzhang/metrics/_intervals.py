"""Intervals of 95 % from a figure and its variance."""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

Z = 1.959963984540054  # .975 of the normal distribution lies below


def normal(value: float, variance: float) -> tuple[float, float]:
    """Return the interval of what is normal.

    Example:
        >>> normal(10.0, 1.0)
        (8.040036015459947, 11.959963984540053)
    """
    wide = Z * math.sqrt(variance)
    return value - wide, value + wide


def logarithmic(value: float, variance: float, *, least: float = 0.0) -> tuple[float, float]:
    """Return the interval of what is positive, and normal in the logarithm, as sums of a few squares nearly are.

    Args:
        value: The figure.
        variance: Its variance.
        least: What is expected of it at the least; where it is less by chance, the interval is as wide as there.

    Example:
        >>> logarithmic(10.0, 1.0)
        (8.2201..., 12.1652...)
    """
    likely = max(value, least)
    wide = math.exp(Z * math.sqrt(variance) / likely) if variance else 1.0
    return value - likely + likely / wide, value - likely + likely * wide


def skewed(value: float, variance: float, samples: Float[Tensor, " N"]) -> tuple[float, float]:
    """Return the interval of a mean of skewed samples: Student's t, once a cubic has taken the skewness from it.

    With skewness g and kurtosis k, the cubic is t + b t^2 + b^2 t^3 / 3 + b / 2 for b = g / (3 sqrt N), and the
    interval is where that lies within Student's quantiles. Heavy tails tell less of the variance: their degrees of
    freedom are 2 N / (k - 1), which is N for a Gaussian.

    Args:
        value: The mean.
        variance: Its variance.
        samples: Of what.

    Example:
        >>> import torch
        >>> low, high = skewed(1.0, 0.01, torch.tensor([0.0, 0.0, 0.0, 0.0, 5.0]))
        >>> round(1 - low, 2), round(high - 1, 2)
        (0.18, 0.87)
    """
    centred = samples.double() - samples.double().mean()
    if not (spread := float(centred.square().mean())):
        return value, value
    n = len(samples)
    bend = float(centred.pow(3).mean()) / spread**1.5 / 3 / math.sqrt(n)
    kurtosis = float(centred.pow(4).mean()) / spread**2

    def straightened(t: float) -> float:
        return float(np.cbrt(1 + 3 * bend * (t - bend / 2)) - 1) / bend if abs(bend) > 1e-6 else t

    error, t = math.sqrt(variance), student(2 * n / (kurtosis - 1)) if kurtosis > 1 else Z
    return value - straightened(t) * error, value - straightened(-t) * error


def student(freedom: float) -> float:
    """Return Student's quantile of 97.5 % for so many degrees of freedom.

    Example:
        >>> round(student(9), 3)
        2.262
    """
    from scipy.special import stdtrit  # noqa: PLC0415

    return float(stdtrit(freedom, 0.975))
