"""Datasets, one a file: what a model learns from."""

from arzhang.data import (
    derived as derived,
    digits as digits,
    facade as facade,
    mnist as mnist,
    paired as paired,
)

__all__ = ["derived", "digits", "facade", "mnist", "paired"]
