"""The least-squares loss: logits are drawn to 1 for real and 0 for generated.

    discriminator  E (D(x) - 1)^2 + E D(G(z))^2
    generator      E (D(G(z)) - 1)^2

D is the logit itself. CycleGAN's choice: steadier than ``vanilla``, since confident logits are pulled back as well. The
paper halves both losses; here they are plain means of squares.

References:
    Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017 (0-1 coding).

Example:
    >>> import torch
    >>> undecided = torch.full((1, 1, 30, 30), 0.5)
    >>> print(f"{lsgan.discriminator(undecided, undecided):.4f} {lsgan.generator(undecided):.4f}")
    0.5000 0.2500
"""

from arzhang.losses._adversarial import Adversarial, Logits, Scalar


def _discriminator(real: Logits, fake: Logits) -> Scalar:
    return (real - 1).square().mean() + fake.square().mean()


def _generator(fake: Logits) -> Scalar:
    return (fake - 1).square().mean()


lsgan = Adversarial(discriminator=_discriminator, generator=_generator)
