"""Divergences side by side: as a Gaussian moves and widens, what each fits to two modes, and where a bound fails."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from arzhang import divergences, rng
from arzhang.distributions import GaussianMixture
from arzhang.estimators import pathwise
from arzhang.study._drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, drawing
from arzhang.study._line import Line, across, around, line
from arzhang.types import Estimated, MisuseError

Track = Callable[[Sequence[Any]], Iterable[Any]]
Measure = Callable[[Distribution, Distribution], Tensor]

SPIKE = (0.1, 1e-3)
"""Weight and scale of the spike that a Gaussian is given for the counter-example."""
GRAIN = 15
"""Points along each side of the grid in which a fit is looked for."""
ZOOMS = 14
SHRINK = 0.4
"""How often that grid is drawn together about its best point, and by what factor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Compare divergences: as one Gaussian moves and widens, and by what each fits to two modes.

    First p = N(0, 1) and q = N(shift, width^2). Then the Gaussian q that is nearest to a mixture p of two, by each
    divergence. Last a mixture for which the Cauchy-Schwarz divergence exceeds both Kullback-Leibler divergences, as it
    never does between Gaussians.

    Example: arzhang study divergences --separation 3 --weight 0.7
    """

    shifts: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    """Where q is moved, in standard deviations of p."""
    widths: tuple[float, ...] = (0.25, 0.5, 1.0, 1.25, 2.0, 4.0)
    """Standard deviations of q, in those of p."""
    separation: float = 2.5
    """Half of the distance of the two modes, whose standard deviations are 0.7 and 1."""
    weight: float = 0.6
    """Weight of the narrower mode."""
    samples: int = 100_000
    """Samples of each estimate."""
    seed: int = 0
    """Of these samples."""

    def check(self) -> None:
        """Refuse numbers out of their range.

        Raises:
            MisuseError: There are such.
        """
        if not self.shifts or not self.widths:
            raise MisuseError("There are no shifts or no widths: give at least one of each.")
        for shift in self.shifts:
            if not abs(shift) <= 20:
                raise MisuseError(f"A shift is {shift:g}; it should lie between -20 and 20.")
        if not 0 < self.separation <= 20:
            raise MisuseError(f"separation is {self.separation:g}; it should lie between 0 and 20.")
        for width in self.widths:
            if not 0.05 <= width <= 20:
                raise MisuseError(f"A width is {width:g}; it should lie between 0.05 and 20.")
        if not 0 < self.weight < 1:
            raise MisuseError(f"weight is {self.weight:g}; it should lie between 0 and 1, which are no mixtures.")
        if self.samples < 2:
            raise MisuseError(f"samples is {self.samples}; it should be at least 2.")

    def target(self) -> GaussianMixture:
        """Return the mixture of two modes."""
        return _mixture((self.weight, 1 - self.weight), (-self.separation, self.separation), (0.7, 1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """A divergence, and how a figure shows it."""

    key: str
    label: str
    measure: Measure
    colour: str
    line: Any = "-"


MOVED = (
    _Look(key="kl_p_q", label="KL(p, q)", measure=divergences.kl, colour=BLUE),
    _Look(key="kl_q_p", label="KL(q, p)", measure=lambda p, q: divergences.kl(q, p), colour=BLUE, line=(0, (5, 2))),
    _Look(key="cauchy_schwarz", label="Cauchy-Schwarz", measure=divergences.cauchy_schwarz, colour=VERMILLION),
    _Look(key="renyi_half", label="Renyi, order 1/2", measure=divergences.renyi, colour=GREEN, line=(0, (5, 2))),
    _Look(
        key="bhattacharyya",
        label="Bhattacharyya",
        measure=divergences.bhattacharyya,
        colour=GREEN,
        line=(0, (1, 1.5)),
    ),
    _Look(key="chi_squared", label="chi-squared(p, q)", measure=divergences.chi_squared, colour=BLACK),
    _Look(
        key="hellinger",
        label="Hellinger, squared",
        measure=divergences.hellinger,
        colour=SKY,
    ),
    _Look(
        key="jensen_shannon",
        label="Jensen-Shannon",
        measure=lambda p, q: line(p, q, across([*_parts(p), *_parts(q)])).jensen_shannon(),
        colour=ORANGE,
    ),
    _Look(
        key="total_variation",
        label="total variation",
        measure=divergences.total_variation,
        colour=ORANGE,
        line=(0, (5, 2)),
    ),
    _Look(key="l2", label="L2, squared", measure=divergences.l2, colour=PURPLE),
    _Look(key="mmd", label="MMD, squared", measure=divergences.mmd, colour=PURPLE, line=(0, (5, 2))),
    _Look(
        key="wasserstein",
        label="Wasserstein, squared",
        measure=divergences.wasserstein,
        colour=BLACK,
        line=(0, (1, 1.5)),
    ),
)
"""Of two Gaussians, in the order of the table; all but one in closed form."""

FITTED: tuple[tuple[str, str, str], ...] = (
    ("KL(q, p)", BLUE, "reverse_kl"),
    ("KL(p, q)", BLUE, "kl"),
    ("Renyi 1/2, Hellinger", GREEN, "renyi_half"),
    ("Jensen-Shannon", ORANGE, "jensen_shannon"),
    ("total variation", ORANGE, "total_variation"),
    ("chi-squared(q, p)", BLACK, "reverse_chi_squared"),
    ("chi-squared(p, q)", BLACK, "chi_squared"),
    ("Cauchy-Schwarz", VERMILLION, "cauchy_schwarz"),
    ("L2", PURPLE, "l2"),
    ("MMD", PURPLE, "mmd"),
)
"""What is fitted: a label, a colour, and the name of an integral over the line or of a closed form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """The Gaussian that is nearest to the target by a divergence.

    Args:
        divergence: Which.
        location: Its mean.
        scale: Its standard deviation.
        value: How far from the target it remains.
        within: The target's modes that lie within two of its standard deviations.
    """

    divergence: str
    location: float
    scale: float
    value: float
    within: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The tables and the figures.

    Args:
        config: What was asked.
        moved: Divergences of N(0, 1) and N(shift, 1), by key.
        widened: Those of N(0, 1) and N(0, width^2).
        fits: The nearest Gaussians to two modes.
        bound: The counter-example: name, value, and an estimate from samples.
        caption: What a reader of the tables has to know.
    """

    config: Config
    moved: Mapping[str, Float[Tensor, " N"]]
    widened: Mapping[str, Float[Tensor, " W"]]
    fits: tuple[Fit, ...]
    bound: tuple[tuple[str, float, Estimated], ...]
    caption: str = (
        "Natural logarithms. Closed forms where there are any; Jensen-Shannon and all but the last four fits are "
        "integrals over the line. Renyi of order 1/2, Bhattacharyya and Hellinger have the same fit."
    )

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines of all tables as plain dictionaries."""
        made: list[dict[str, Any]] = []
        for title, of, steps, found in (
            ("p = N(0, 1), q = N(shift, 1)", "shift", self.config.shifts, self.moved),
            ("p = N(0, 1), q = N(0, width^2)", "width", self.config.widths, self.widened),
        ):
            for look in MOVED:
                values = {f"{of}_{step:g}": _plain(value) for step, value in zip(steps, found[look.key], strict=True)}
                made.append({"table": title, "divergence": look.label, **values})
        c = self.config
        title = f"q nearest to p = {c.weight:g} N(-{c.separation:g}, 0.7^2) + {1 - c.weight:g} N({c.separation:g}, 1)"
        made += [{"table": title, **{name: getattr(fit, name) for name in Fit.__slots__}} for fit in self.fits]
        weight, scale = SPIKE
        title = f"p = N(0, 1), q = {1 - weight:g} N(0, 1) + {weight:g} N(0, {scale:g}^2)"
        made += [
            {
                "table": title,
                "divergence": name,
                "value": value,
                "estimate": _plain(estimate.value),
                "standard_error": _plain(estimate.standard_error),
            }
            for name, value, estimate in self.bound
        ]
        return made

    def figures(self) -> dict[str, Any]:
        """Draw the figures: divergences of a Gaussian that moves and widens, fits to two modes, and the bound."""
        return {"moved": _draw_moved(), "fits": _draw_fits(self.config.target(), self.fits), "bound": _draw_bound()}


def run(config: Config, *, track: Track = iter) -> Result:
    """Compute all divergences, look for the nearest Gaussians, and take the counter-example apart.

    Args:
        config: What is asked.
        track: Passes the parts of the work on while it shows progress.

    Raises:
        MisuseError: A number of the configuration is out of its range.

    Example:
        >>> found = run(Config(samples=1000))
        >>> [(name, round(value, 3)) for name, value, _ in found.bound]
        [('Cauchy-Schwarz', 1.161), ('KL(p, q)', 0.097), ('KL(q, p)', 0.325)]
    """
    config.check()
    target = config.target()
    return Result(
        config=config,
        moved=_values(shift=torch.tensor(config.shifts, dtype=torch.float64)),
        widened=_values(width=torch.tensor(config.widths, dtype=torch.float64)),
        fits=tuple(_fit(target, label, name) for label, _, name in track(FITTED)),
        bound=tuple(_bound(config)),
    )


def _plain(value: Tensor) -> float:
    return value.item() + 0.0  # which makes 0 of -0


def _normal(location: Tensor, scale: Tensor) -> Distribution:
    """Return Gaussians on the line that a mixture can be compared with."""
    return Independent(Normal(location[..., None], scale[..., None]), 1)


def _mixture(weights: Sequence[float], means: Sequence[float], deviations: Sequence[float]) -> GaussianMixture:
    columns = (torch.tensor(each, dtype=torch.float64) for each in (weights, means, deviations))
    weight, mean, deviation = columns
    return GaussianMixture(weights=weight, loc=mean[:, None], scale=deviation[:, None])


def _parts(p: Distribution) -> list[tuple[float, float]]:
    """Return means and deviations of all Gaussians in a batch of Normals or in a mixture."""
    found: Any = p if isinstance(p, GaussianMixture) else getattr(p, "base_dist", p)
    return list(zip(found.loc.flatten().tolist(), found.scale.flatten().tolist(), strict=True))


def _values(
    *, shift: Float[Tensor, " N"] | None = None, width: Float[Tensor, " N"] | None = None
) -> dict[str, Float[Tensor, " N"]]:
    nothing, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    q = Normal(*torch.broadcast_tensors(nothing if shift is None else shift, one if width is None else width))
    p = Normal(torch.zeros_like(q.loc), torch.ones_like(q.scale))
    return {look.key: look.measure(p, q) for look in MOVED}


def _fit(target: GaussianMixture, label: str, name: str) -> Fit:
    """Look for the best of a grid of means and scales, and then in ever smaller grids about it."""
    modes = target.loc.flatten()
    middle = torch.stack([modes.mean(), torch.tensor(0.4, dtype=torch.float64)])
    reach = torch.stack([modes.max() + 1, torch.tensor(1.6, dtype=torch.float64) + (modes.max() / 5).log1p()])
    edges = torch.arange(-45.0 - float(modes.max()), 46.0 + float(modes.max()), dtype=torch.float64)
    steps = torch.linspace(-1, 1, GRAIN, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps)
    for _ in range(ZOOMS):
        location, log_scale = (middle + reach * grid).T
        q = _normal(location, log_scale.exp())
        if hasattr(Line, name):
            values: Tensor = getattr(line(target, q, edges), name)()
        else:
            values = getattr(divergences, name)(target, q)
        best = int(values.nan_to_num(math.inf, math.inf).argmin())
        middle, reach = torch.stack([location[best], log_scale[best]]), reach * SHRINK
    place, scale = location[best].item(), log_scale[best].exp().item()
    reached = ((modes - place).abs() < 2 * scale).tolist()
    within = {(True, True): "both", (True, False): "the first", (False, True): "the second", (False, False): "none"}
    return Fit(
        divergence=label,
        location=place,
        scale=scale,
        value=values[best].item(),
        within=within[tuple(reached)],
    )


def _spiked(weight: float, scale: float) -> GaussianMixture:
    return _mixture((1 - weight, weight), (0.0, 0.0), (1.0, scale))


def _bound(config: Config) -> Iterable[tuple[str, float, Estimated]]:
    p, q = _mixture((1.0,), (0.0,), (1.0,)), _spiked(*SPIKE)
    both = line(p, q, around(_parts(q)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.seed_of(config.seed, "bound"))
        n = config.samples
        closed = divergences.cauchy_schwarz(p, q)
        yield "Cauchy-Schwarz", _plain(closed), divergences.cauchy_schwarz(p, q, estimator=pathwise, samples=n)
        yield "KL(p, q)", _plain(both.kl()), divergences.kl(p, q, estimator=pathwise, samples=n)
        yield "KL(q, p)", _plain(both.reverse_kl()), divergences.kl(q, p, estimator=pathwise, samples=n)


# Figures


def _draw_moved() -> Any:
    """Draw every divergence against the shift and against the width of q."""
    shift = torch.linspace(0, 4, 161, dtype=torch.float64)
    width = torch.logspace(-2, 2, 161, base=2, dtype=torch.float64)
    with drawing(11.5, 5.6, columns=2, sharey=True) as (figure, axes):
        panels = zip(axes[0], (shift, width), (_values(shift=shift), _values(width=width)), strict=True)
        for panel, x, found in panels:
            for look in MOVED:
                curve = found[look.key]
                curve = torch.where((curve > 0) & curve.isfinite(), curve, math.nan)
                panel.plot(x, curve, color=look.colour, linestyle=look.line, label=look.label)
            panel.set_yscale("log")
            panel.set_ylim(1e-3, 1e2)
        axes[0][0].set_title("q = N(shift, 1)")
        axes[0][0].set_xlabel("shift, in standard deviations of p")
        axes[0][0].set_ylabel("divergence of p = N(0, 1) and q")
        axes[0][1].set_title(r"q = N(0, width$^2$)")
        axes[0][1].set_xlabel("width, in standard deviations of p")
        axes[0][1].set_xscale("log", base=2)
        axes[0][1].xaxis.set_major_formatter("{x:g}")
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", handlelength=3)
    return figure


def _draw_fits(target: GaussianMixture, fits: Sequence[Fit]) -> Any:
    """Draw the target and, in a panel for each divergence, the Gaussian that is nearest by it."""
    reach = float(target.loc.max()) + 4
    x = torch.linspace(-reach, reach, 401, dtype=torch.float64)
    density = target.log_prob(x[:, None]).exp()
    with drawing(12, 5.4, rows=2, columns=5, sharex=True, sharey=True) as (figure, axes):
        for panel, fit, (label, colour, _) in zip(axes.flat, fits, FITTED, strict=True):
            panel.fill_between(x, density, color="#cccccc", linewidth=0)
            curve = Normal(fit.location, fit.scale).log_prob(x).exp()
            panel.plot(x, curve, color=colour)
            panel.set_title(f"{label}\nN({fit.location:.2f}, {fit.scale:.2f}$^2$)", fontsize="medium")
        for panel in axes[1]:
            panel.set_xlabel("x")
        for panel in axes[:, 0]:
            panel.set_ylabel("density")
        figure.suptitle("grey: the target p; lines: the nearest Gaussian q", fontsize="medium")
    return figure


def _draw_bound() -> Any:
    """Draw the three divergences of the counter-example as its spike grows thin."""
    weight, told = SPIKE
    p, scales = _mixture((1.0,), (0.0,), (1.0,)), torch.logspace(0, -4, 61, dtype=torch.float64).tolist()
    curves: dict[str, list[float]] = {"Cauchy-Schwarz": [], "KL(p, q)": [], "KL(q, p)": []}
    for scale in scales:
        q = _spiked(weight, scale)
        both = line(p, q, around(_parts(q)))
        values = (divergences.cauchy_schwarz(p, q), both.kl(), both.reverse_kl())
        for curve, value in zip(curves.values(), values, strict=True):
            curve.append(_plain(value))
    looks = ((VERMILLION, "-"), (BLUE, "-"), (BLUE, (0, (5, 2))))
    with drawing(8, 4.8) as (figure, ((panel,),)):
        for (name, curve), (colour, dash) in zip(curves.items(), looks, strict=True):
            panel.plot(scales, curve, color=colour, linestyle=dash, label=name)
        panel.axvline(told, color=BLACK, linewidth=1, linestyle=(0, (1, 2)))
        panel.set_xscale("log")
        panel.invert_xaxis()
        panel.set_xlabel("standard deviation of the spike (dotted: the one in the table)")
        panel.set_ylabel("divergence, nats")
        panel.set_title(f"p = N(0, 1), q = {1 - weight:g} N(0, 1) + {weight:g} spike")
        panel.legend(handlelength=3)
    return figure
