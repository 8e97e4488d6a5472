"""Datasets, one a file: what a model learns from."""

from arzhang.data import derived as derived, facade as facade, paired as paired

__all__ = ["derived", "facade", "paired"]
