"""Divergences between distributions, in nats, one a file."""

__all__: list[str] = []
