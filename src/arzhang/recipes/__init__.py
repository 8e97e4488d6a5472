"""Recipes: one published or recommended result a file, a function that returns a complete Run."""

from arzhang.recipes.cgan_digits import cgan_digits as cgan_digits
from arzhang.recipes.cgan_mnist import cgan_mnist as cgan_mnist
from arzhang.recipes.csvae_mnist import csvae_mnist as csvae_mnist
from arzhang.recipes.cyclegan import cyclegan as cyclegan
from arzhang.recipes.cyclegan_demo import cyclegan_demo as cyclegan_demo
from arzhang.recipes.cyclegan_small import cyclegan_small as cyclegan_small
from arzhang.recipes.cyclegan_yosemite import cyclegan_yosemite as cyclegan_yosemite
from arzhang.recipes.demo import demo as demo
from arzhang.recipes.iwae_mnist import iwae_mnist as iwae_mnist
from arzhang.recipes.pix2pix import pix2pix as pix2pix
from arzhang.recipes.pix2pix_facades import pix2pix_facades as pix2pix_facades
from arzhang.recipes.pix2pix_small import pix2pix_small as pix2pix_small
from arzhang.recipes.vae_digits import vae_digits as vae_digits
from arzhang.recipes.vae_mnist import vae_mnist as vae_mnist

__all__ = [
    "cgan_digits",
    "cgan_mnist",
    "csvae_mnist",
    "cyclegan",
    "cyclegan_demo",
    "cyclegan_small",
    "cyclegan_yosemite",
    "demo",
    "iwae_mnist",
    "pix2pix",
    "pix2pix_facades",
    "pix2pix_small",
    "vae_digits",
    "vae_mnist",
]
