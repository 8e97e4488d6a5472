"""Baselines: what a score function subtracts from f, one a file."""

__all__: list[str] = []
