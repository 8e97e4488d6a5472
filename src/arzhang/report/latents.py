"""What a model has made of its latents: which it uses, where pictures lie among them, and what each of them changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.report._parts import Figure, Map, Panel, Row

ACTIVE = 0.01
"""Variance of its mean over the pictures from which on a latent counts as used."""
REACH = 3
"""Standard deviations that a traversal goes to either side."""
STOPS = 7
"""Pictures of a traversal."""
MOST = 10
"""Latents that are traversed."""


@runtime_checkable
class Encoding(Protocol):
    """A game that turns pictures into distributions of latents, and latents into pictures."""

    def encode(self, picture: Float[Tensor, "B C H W"]) -> Distribution:
        """Return the distribution over latents of each picture."""

    def decode(self, latents: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        """Return the mean picture that latents stand for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latents:
    """The latents of held-out pictures.

    Args:
        mean: Of each picture.
        variance: Of each picture.
        classes: What each picture is of; none where that is not known.
    """

    mean: Float[Tensor, "N D"]
    variance: Float[Tensor, "N D"]
    classes: Sequence[str]

    @classmethod
    @torch.no_grad()
    def of(cls, game: Encoding, pictures: Sequence[Float[Tensor, "_ C H W"]], classes: Sequence[str]) -> "Latents":
        """Encode pictures, batch by batch, on the device on which they are."""
        found = [game.encode(batch) for batch in pictures]
        mean, variance = (torch.cat(parts).cpu() for parts in ([q.mean for q in found], [q.variance for q in found]))
        return cls(mean=mean, variance=variance, classes=classes)

    def figure(self) -> Figure:
        """Count the latents that are used."""
        used = active(self.mean)
        return Figure(
            name="Active units",
            value=int(used.sum()),
            unit=f"of {len(used)} latents",
            note=f"those whose mean has a variance above {ACTIVE:.2g} over the pictures".replace("0.", "."),
        )

    def map(self) -> Iterator[Map]:
        """Lay the pictures out by the means of their latents: two as they are, more by their principal components."""
        if self.mean.shape[1] < 2 or len(self.mean) < 3:
            return
        centred = (self.mean - self.mean.mean(0)).double()
        points, axes, how = self.mean, ("latent 0", "latent 1"), "by its two latents"
        if self.mean.shape[1] > 2:
            _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
            directions = torch.where(directions.sum(1, keepdim=True) < 0, -directions, directions)  # svd leaves it open
            points = centred @ directions[:2].T
            shares = (spread.square() / spread.square().sum().clamp_min(1e-30))[:2].tolist()
            axes = (f"first principal component, {shares[0]:.0%}", f"second, {shares[1]:.0%} of the variance")
            how = "by the two principal components of their latents' means"
        names = self.classes or ("picture",) * len(points)
        yield Map(
            title="A map of the latents",
            caption=f"The held-out pictures laid out {how}."
            + (" A picture is written as its class, which training never saw." if self.classes else ""),
            axes=axes,
            points={
                name: [(x, y) for (x, y), other in zip(points.tolist(), names, strict=True) if other == name]
                for name in sorted(set(names), key=lambda name: (len(name), name))
            },
        )

    def traversal(self, game: Encoding, index: int, device: torch.device) -> Panel:
        """Show what becomes of one picture as each latent by itself goes from one end to the other."""
        centre = self.mean.mean(0)
        deviation = (self.variance.mean(0) + self.mean.var(0, correction=0)).sqrt()
        order = self.mean.var(0, correction=0).argsort(descending=True, stable=True)[:MOST].tolist()
        stops = torch.linspace(-REACH, REACH, STOPS)
        used = active(self.mean)
        rows = []
        for latent in order:
            moved = self.mean[index].repeat(STOPS, 1)
            moved[:, latent] = centre[latent] + stops * deviation[latent]
            pictures = game.decode(moved.to(device)).cpu()
            rows.append(
                Row(
                    name=f"latent {latent}",
                    note=f"variance of its mean {self.mean[:, latent].var(correction=0):.2f}"
                    + ("" if used[latent] else ", not active"),
                    pictures=tuple(pictures),
                )
            )
        shown = f"the {MOST} most active of {len(used)}" if len(used) > MOST else "the most active first"
        return Panel(
            title="What each latent changes",
            caption=f"A held-out picture of which one latent is moved, from {REACH} standard deviations (of latents "
            f"of all pictures) below their mean to {REACH} above it; {shown}. A row that does not change is a latent "
            "that the decoder does not listen to.",
            columns=tuple(f"{stop:+g}".replace("-", "\N{MINUS SIGN}") if stop else "0" for stop in stops.tolist()),
            rows=tuple(rows),
        )


def active(mean: Float[Tensor, "N D"]) -> Bool[Tensor, " D"]:
    """Tell which latents are used: those whose mean varies from picture to picture, A_d = Var_x(E[z_d|x]) > .01.

    What is not used has been given up to the prior, and costs and says nothing.

    References:
        Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, section 5.1.

    Example:
        >>> active(torch.tensor([[0.0, 1.0], [0.1, -1.0]]))
        tensor([False,  True])
    """
    return mean.var(0, correction=0) > ACTIVE
