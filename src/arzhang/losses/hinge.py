"""The hinge loss: logits only have to be beyond 1 for real and beyond -1 for generated.

    discriminator  E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))
    generator      -E D(G(z))

D is the logit itself. The choice of large models: what the discriminator already tells apart no longer moves it.

References:
    Lim and Ye, "Geometric GAN", 2017.
    Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, equations 16 and 17.

Example:
    >>> import torch
    >>> undecided = torch.zeros(1, 1, 30, 30)
    >>> print(f"{hinge.discriminator(undecided, undecided):.4f} {hinge.generator(undecided + 1):.4f}")
    2.0000 -1.0000
"""

from arzhang.losses._adversarial import Adversarial, Logits, Scalar, negative_mean


def _discriminator(real: Logits, fake: Logits) -> Scalar:
    return (1 - real).relu().mean() + (1 + fake).relu().mean()


hinge = Adversarial(discriminator=_discriminator, generator=negative_mean)
