"""Networks that take pictures: generators return pictures, discriminators return logits, positive for real."""

from arzhang.networks import imagegan as imagegan, patchgan as patchgan, pixelgan as pixelgan, unet as unet

__all__ = ["imagegan", "patchgan", "pixelgan", "unet"]
