"""Distributions: the Gaussian mixture, the overlap under a family of divergences, and what their parameters are."""

from arzhang.distributions._gaussians import (
    Components as Components,
    common_batch as common_batch,
    components_of as components_of,
    log_overlap as log_overlap,
    overlap as overlap,
)
from arzhang.distributions._mixture import GaussianMixture as GaussianMixture, logarithm as logarithm
from arzhang.distributions._parameters import (
    described as described,
    parameters_of as parameters_of,
    with_parameters as with_parameters,
)

__all__ = [
    "Components",
    "GaussianMixture",
    "common_batch",
    "components_of",
    "described",
    "log_overlap",
    "logarithm",
    "overlap",
    "parameters_of",
    "with_parameters",
]
