"""Models: games, one paper a file."""

from arzhang.models import cgan as cgan, cyclegan as cyclegan, iwae as iwae, pix2pix as pix2pix, vae as vae

__all__ = ["cgan", "cyclegan", "iwae", "pix2pix", "vae"]
