"""Intervals of 95 % from a figure and its variance."""

import math

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
