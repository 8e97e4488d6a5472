"""The zero-sum loss, in nats: the generator lowers what the discriminator raises.

    discriminator  -E log D(x) - E log(1 - D(G(z)))
    generator       E log(1 - D(G(z)))

D is the sigmoid of the logit. This is the game of the theory (at the best discriminator, a Jensen-Shannon divergence),
but its generator gets the less gradient the surer the discriminator is of it: to train, take ``vanilla``.

References:
    Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, equation 1.

Example:
    >>> import torch
    >>> undecided = torch.zeros(1, 1, 30, 30)
    >>> print(f"{minimax.discriminator(undecided, undecided):.4f} {minimax.generator(undecided):.4f}")
    1.3863 -0.6931
"""

from torch import nn

from arzhang.losses._adversarial import Adversarial, Logits, Scalar, cross_entropy


def _generator(fake: Logits) -> Scalar:
    return nn.functional.logsigmoid(-fake).mean()


minimax = Adversarial(discriminator=cross_entropy, generator=_generator)
