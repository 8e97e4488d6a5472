"""Networks, one a file.

Generators return pictures, discriminators logits, positive for real; encoders turn a picture into features, decoders
latents into what a likelihood makes a picture of.
"""

from arzhang.networks import (
    conv_decoder as conv_decoder,
    conv_encoder as conv_encoder,
    imagegan as imagegan,
    patchgan as patchgan,
    pixelgan as pixelgan,
    resnet as resnet,
    unet as unet,
)

__all__ = ["conv_decoder", "conv_encoder", "imagegan", "patchgan", "pixelgan", "resnet", "unet"]
