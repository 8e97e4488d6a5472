"""The Wasserstein loss: the difference of mean logits, for a critic whose slope the penalty draws to 1.

    discriminator  E D(G(z)) - E D(x)
    generator      -E D(G(z))
    penalty        E (|grad D(x^)|_2 - 1)^2    where x^ = (1 - u) x + u G(z), u uniform, one for each picture

D is the logit itself, its mean where a picture has several. The penalty comes unweighted; published are a weight of 10
and five moves of the critic for each of the generator. The loss follows the distance between the distributions, at the
price of second derivatives. A critic with batch norm has no slope of its own for each picture: take another norm.

References:
    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, equation 3 and algorithm 1.

Example:
    >>> real, fake = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    >>> critic = lambda picture: 3 * picture[:, :1, :1, :1]
    >>> wgan_gp.penalty(critic, real, fake, torch.Generator())
    tensor(4.)
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang.losses._adversarial import Adversarial, Logits, Scalar, negative_mean


def _discriminator(real: Logits, fake: Logits) -> Scalar:
    return fake.mean() - real.mean()


def _penalty(
    critic: Callable[[Float[Tensor, "B C H W"]], Logits],
    real: Float[Tensor, "B C H W"],
    fake: Float[Tensor, "B C H W"],
    generator: torch.Generator,
) -> Scalar:
    device = "cuda" if real.is_cuda else "cpu"  # the meta device knows no autocast
    # Second derivatives need full precision, and do not go through what is compiled.
    with torch.autocast(device, enabled=False), torch.compiler.set_stance("force_eager"):
        u = torch.rand(len(real), 1, 1, 1, generator=generator, device=generator.device)
        u = (u.pin_memory() if real.is_cuda and u.is_cpu else u).to(real, non_blocking=True)
        between = torch.lerp(real, fake.to(real), u).detach().requires_grad_()
        values = critic(between).mean(dim=(1, 2, 3))
        (slopes,) = torch.autograd.grad(values.sum(), between, create_graph=True)
        norms: Tensor = torch.linalg.vector_norm(slopes, dim=(1, 2, 3))
        return (norms - 1).square().mean()


wgan_gp = Adversarial(discriminator=_discriminator, generator=negative_mean, penalty=_penalty, critic_moves=5)
