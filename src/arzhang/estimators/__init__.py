"""Gradient estimators of E_q[f], one a file, all of one contract: ``types.Estimator``."""

from arzhang.estimators import rebar as rebar, relax as relax
from arzhang.estimators.antithetic import antithetic as antithetic
from arzhang.estimators.disarm import disarm as disarm
from arzhang.estimators.exact import exact as exact
from arzhang.estimators.finite_difference import finite_difference as finite_difference
from arzhang.estimators.gumbel_softmax import gumbel_softmax as gumbel_softmax
from arzhang.estimators.measure_valued import measure_valued as measure_valued
from arzhang.estimators.pathwise import pathwise as pathwise
from arzhang.estimators.score_function import score_function as score_function
from arzhang.estimators.straight_through import straight_through as straight_through
from arzhang.estimators.taylor import taylor as taylor

__all__ = [
    "antithetic",
    "disarm",
    "exact",
    "finite_difference",
    "gumbel_softmax",
    "measure_valued",
    "pathwise",
    "rebar",
    "relax",
    "score_function",
    "straight_through",
    "taylor",
]
