"""Gradient estimators of E_q[f], one a file, all of one contract: ``types.Estimator``."""

__all__: list[str] = []
