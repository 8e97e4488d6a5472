"""Distributions: the Gaussian mixture, the overlap under a family of divergences, and what their parameters are."""

from arzhang.distributions._parameters import (
    described as described,
    parameters_of as parameters_of,
    with_parameters as with_parameters,
)

__all__ = ["described", "parameters_of", "with_parameters"]
