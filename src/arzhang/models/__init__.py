"""Games: one paper a file."""

from arzhang.models import pix2pix as pix2pix

__all__ = ["pix2pix"]
