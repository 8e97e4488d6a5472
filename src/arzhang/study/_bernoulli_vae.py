"""A variational autoencoder whose latents are coins, on scikit-learn's digits in black and white."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent
from torch.nn import functional as F

from arzhang.data import digits
from arzhang.types import Integrand

SIDE = 8
HIDDEN = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Digits of 8 x 8 pixels, each 0 or 1."""

    train: Float[Tensor, "N D"]
    held_out: Float[Tensor, "M D"]


def binarised(*, seed: int) -> Data:
    """Return the digits, white where at least half of the ink is."""
    splits = digits.Config(size=SIDE).build(seed=seed)
    train, held_out = (
        torch.stack([split.example(index, None)["image"].flatten() for index in range(len(split))])
        for split in (splits.train, splits.held_out)
    )
    return Data(train=(train >= 0).float(), held_out=(held_out >= 0).float())


@final
class BernoulliVae(nn.Module):
    """Encoder and decoder, each linear or with two hidden layers of tanh, and a prior of independent coins."""

    def __init__(self, example: Float[Tensor, "N D"], *, latents: int, nonlinear: bool) -> None:
        super().__init__()
        pixels = example.shape[1]
        self.centre: Tensor
        self.register_buffer("centre", example.mean(0))
        self.encoder = _layers(pixels, latents, nonlinear=nonlinear)
        self.decoder = _layers(latents, pixels, nonlinear=nonlinear)
        self.prior = nn.Parameter(torch.zeros(latents))

    def encode(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B L"]:
        """Return the logits of q(b|x)."""
        logits: Tensor = self.encoder(2 * (x - self.centre))
        return logits

    def integrand(self, x: Float[Tensor, "*B D"], logits: Float[Tensor, "*B L"]) -> Integrand:
        """Return log p(x|b) + log p(b) - log q(b|x) in nats, as a function of b.

        That of q is held fixed: its gradient is zero on average, at every q.
        """
        logits = logits.detach()

        def f(b: Tensor) -> Tensor:
            seen = self.decoder(2 * b - 1)
            return _log(x, seen) + _log(b, self.prior) - _log(b, logits)

        return f

    @torch.no_grad()
    def bound(self, x: Float[Tensor, "B D"], *, samples: int) -> float:
        """Return the evidence bound, in nats for each picture."""
        logits = self.encode(x)
        b = posterior(logits).sample((samples,))
        return float(self.integrand(x, logits)(b).mean())


def posterior(logits: Float[Tensor, "*B L"]) -> Distribution:
    """Return q(b|x)."""
    return Independent(Bernoulli(logits=logits), 1)


def _log(x: Tensor, logits: Tensor) -> Tensor:
    """Return the log-probability, which is linear in x and so goes on between 0 and 1."""
    return (x * logits - F.softplus(logits)).sum(-1)


def _layers(inputs: int, outputs: int, *, nonlinear: bool) -> nn.Sequential:
    if not nonlinear:
        return nn.Sequential(nn.Linear(inputs, outputs))
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, outputs)
    )
