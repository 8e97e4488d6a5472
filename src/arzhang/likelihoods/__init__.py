"""Likelihoods, one a file: what a decoder's output says of pictures."""

from arzhang.likelihoods import (
    bernoulli as bernoulli,
    discretised_logistic as discretised_logistic,
    gaussian as gaussian,
)

__all__ = ["bernoulli", "discretised_logistic", "gaussian"]
