"""Objectives of models with latents: the variational one, the importance-weighted one, and log p(x) itself."""

from arzhang.objectives._report import Report as Report
from arzhang.objectives.importance_weighted import importance_weighted as importance_weighted
from arzhang.objectives.log_likelihood import log_likelihood as log_likelihood
from arzhang.objectives.variational import Terms as Terms, Variational as Variational

__all__ = ["Report", "Terms", "Variational", "importance_weighted", "log_likelihood"]
