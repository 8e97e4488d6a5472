"""Baselines: what a score function subtracts from f, one a file."""

from arzhang.baselines import (
    mean as mean,
    moving_average as moving_average,
    neural as neural,
    optimal as optimal,
)
from arzhang.baselines.leave_one_out import leave_one_out as leave_one_out

__all__ = ["leave_one_out", "mean", "moving_average", "neural", "optimal"]
