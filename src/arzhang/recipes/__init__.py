"""Recipes: one published or recommended result a file, a function that returns a complete Run."""

from arzhang.recipes.demo import demo as demo
from arzhang.recipes.pix2pix import pix2pix as pix2pix
from arzhang.recipes.pix2pix_facades import pix2pix_facades as pix2pix_facades
from arzhang.recipes.pix2pix_small import pix2pix_small as pix2pix_small

__all__ = ["demo", "pix2pix", "pix2pix_facades", "pix2pix_small"]
