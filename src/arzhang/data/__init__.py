"""Datasets, one a file: what a model learns from."""

from arzhang.data import (
    derived as derived,
    digits as digits,
    domains as domains,
    facade as facade,
    images as images,
    labelled as labelled,
    mnist as mnist,
    paired as paired,
    unpaired as unpaired,
)

__all__ = ["derived", "digits", "domains", "facade", "images", "labelled", "mnist", "paired", "unpaired"]
