"""Networks, one a file.

Generators return pictures, discriminators logits, positive for real; encoders turn a picture into features, decoders
latents into what a likelihood makes a picture of. What is conditional takes a condition as well.
"""

from arzhang.networks import (
    conditional_discriminator as conditional_discriminator,
    conditional_generator as conditional_generator,
    conv_decoder as conv_decoder,
    conv_encoder as conv_encoder,
    imagegan as imagegan,
    patchgan as patchgan,
    pixelgan as pixelgan,
    resnet as resnet,
    unet as unet,
)

__all__ = [
    "conditional_discriminator",
    "conditional_generator",
    "conv_decoder",
    "conv_encoder",
    "imagegan",
    "patchgan",
    "pixelgan",
    "resnet",
    "unet",
]
