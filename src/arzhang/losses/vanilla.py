"""The non-saturating loss, in nats: the discriminator tells real from generated, the generator makes it say real.

    discriminator  -E log D(x) - E log(1 - D(G(z)))
    generator      -E log D(G(z))

D is the sigmoid of the logit. The usual choice, and pix2pix's: the generator's gradient is strongest where it fails.

References:
    Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, equation 1 and the end of section 3.

Example:
    >>> import torch
    >>> undecided = torch.zeros(1, 1, 30, 30)
    >>> print(f"{vanilla.discriminator(undecided, undecided):.4f} {vanilla.generator(undecided):.4f}")
    1.3863 0.6931
"""

from torch import nn

from arzhang.losses._adversarial import Adversarial, Logits, Scalar, cross_entropy


def _generator(fake: Logits) -> Scalar:
    return -nn.functional.logsigmoid(fake).mean()


vanilla = Adversarial(discriminator=cross_entropy, generator=_generator)
