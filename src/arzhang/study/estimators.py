"""Gradient estimators side by side: mean, variance and cost of each, beside what is exact."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from arzhang import rng
from arzhang.baselines import leave_one_out
from arzhang.estimators import antithetic, finite_difference, measure_valued, pathwise, score_function, taylor
from arzhang.gradients import gradient_samples, summarize
from arzhang.study._drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, drawing
from arzhang.study._exact import Function, Moments, Parameter, Problem
from arzhang.types import Cost, Estimator, MisuseError

Track = Callable[[Sequence[Any]], Iterable[Any]]

AT_ONCE = 1 << 21
"""Evaluations of f in one call, which bounds the memory."""
AVERAGED = 1000
"""Samples behind each estimate of the figure of distributions."""
FASTEST = 1000.0
"""Radians over sigma by which a cosine may turn: its integrals then need a hundred thousand nodes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Compare gradient estimators on f(z), z ~ N(mu, sigma^2): mean, variance, cost, time, and what is exact.

    Variances are of one gradient sample, and costs of one: an evaluation of f counts 1, and so does a derivative of f.
    Leave-one-out shares its samples in groups; its variance is that of a group times its size, and so is its cost by
    sample. The exact variances are integrals over one variable, right to rounding.

    Example: arzhang study estimators --f square --mu 0.7 --m 1.9 --samples 1000000
    """

    f: Literal["linear", "square", "cosine", "step"] = "square"
    """The function: m z, (m z)^2, cos(m z), or the step that is 1 where m z > 1 and else 0."""
    m: float = 1.0
    """What multiplies z."""
    mu: tuple[float, ...] = (0.0, 1.0, 3.0)
    """The locations."""
    sigma: float = 1.0
    """The scale."""
    parameter: Parameter = "location"
    """By which one differentiates: location is mu, scale is sigma."""
    samples: int = 100_000
    """Gradient samples of each method at each mu."""
    group: int = 4
    """How many samples leave each other out, for that baseline."""
    step: float = 0.1
    """Half of what a central difference spans."""
    seed: int = 0
    """Of all that is drawn."""

    def problem(self) -> Problem:
        """Return what is integrated.

        Raises:
            MisuseError: A number is out of its range.
        """
        numbers = [("m", self.m), ("sigma", self.sigma), ("step", self.step), *(("mu", mu) for mu in self.mu)]
        for name, value in numbers:
            if not math.isfinite(value):
                raise MisuseError(f"{name} is {value}; it should be a finite number.")
        if not self.mu:
            raise MisuseError("There is no mu: give at least one, as in --mu 0.7.")
        if self.m == 0:
            raise MisuseError("m is 0, so that f is constant: give another number.")
        for name, value in {"sigma": self.sigma, "step": self.step}.items():
            if value <= 0:
                raise MisuseError(f"{name} is {value:g}; it should be above 0.")
        for name, count in {"samples": self.samples, "group": self.group}.items():
            if count < 2:
                raise MisuseError(f"{name} is {count}; it should be at least 2.")
        if self.parameter == "scale" and self.step >= self.sigma:
            raise MisuseError(f"A step of {self.step:g} takes sigma, {self.sigma:g}, to 0: give a smaller --step.")
        if self.f == "cosine" and abs(self.m) * self.sigma > FASTEST:
            raise MisuseError(
                f"cos(m z) turns by {abs(self.m) * self.sigma:g} over sigma, at most {FASTEST:g} are told."
            )
        return Problem(
            f=function(self.f, self.m),
            mu=torch.tensor(self.mu, dtype=torch.float64),
            sigma=self.sigma,
            parameter=self.parameter,
            step=self.step,
            group=self.group,
        )


def function(name: str, m: float) -> Function:
    """Return one of the functions, with all that is known of it.

    Example:
        >>> function("square", 3.0).value(torch.tensor(2.0))
        tensor(36.)
    """
    match name:
        case "linear":
            return Function(
                value=lambda z: m * z,
                first=lambda z: torch.full_like(z, m),
                second=torch.zeros_like,
                integral=lambda z: m * z.square() / 2,
                text="m z",
            )
        case "square":
            return Function(
                value=lambda z: (m * z).square(),
                first=lambda z: 2 * m**2 * z,
                second=lambda z: torch.full_like(z, 2 * m**2),
                integral=lambda z: m**2 * z**3 / 3,
                text="(m z)²",
            )
        case "cosine":
            return Function(
                value=lambda z: (m * z).cos(),
                first=lambda z: -m * (m * z).sin(),
                second=lambda z: -(m**2) * (m * z).cos(),
                integral=lambda z: (m * z).sin() / m,
                turns=abs(m),
                text="cos(m z)",
            )
        case _:
            return Function(
                value=lambda z: (m * z > 1).to(z.dtype),
                first=torch.zeros_like,
                second=torch.zeros_like,
                integral=lambda z: (m * z - 1).relu() / m,
                edges=(1 / m,),
                text="1 where m z > 1",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Method:
    """A method of the table: how it is drawn, what it is exactly, and how a figure shows it."""

    name: str
    estimator: Callable[[Problem], Estimator]
    exact: Callable[[Problem], Moments | None]
    grouped: bool = False
    colour: str
    line: Any
    marker: str
    hatch: str = ""

    @property
    def pale(self) -> str:
        """The colour of an area, on which a hatch is seen."""
        from matplotlib.colors import to_hex, to_rgb  # noqa: PLC0415

        red, green, blue = (0.35 + 0.65 * part for part in to_rgb(self.colour))
        return to_hex((red, green, blue))

    def cost(self, problem: Problem, *, samples: int) -> Cost:
        """Return what one estimate costs."""
        q = _normal(problem)
        {"location": q.loc, "scale": q.scale}[problem.parameter].requires_grad_()  # what is held still costs nothing
        return self.estimator(problem).cost(q, samples=samples)


def _score(name: str, baseline: Callable[[Problem], Any], exact: Callable[[Problem], Moments], **how: Any) -> _Method:
    return _Method(
        name=f"score function, {name}",
        estimator=lambda problem: score_function.given(baseline=baseline(problem)),
        exact=exact,
        **how,
    )


METHODS = (
    _Method(name="pathwise", estimator=lambda _: pathwise, exact=Problem.pathwise, colour=BLUE, line="-", marker="o"),
    _Method(
        name="score function",
        estimator=lambda _: score_function,
        exact=Problem.score_function,
        colour=VERMILLION,
        line="-",
        marker="s",
    ),
    _score(
        "baseline E f",
        lambda problem: problem.expectation,
        lambda problem: problem.score_function(problem.expectation),
        colour=VERMILLION,
        line=(0, (6, 2)),
        marker="D",
        hatch="//",
    ),
    _score(
        "optimal constant",
        lambda problem: problem.optimal,
        lambda problem: problem.score_function(problem.optimal),
        colour=ORANGE,
        line="-",
        marker="^",
        hatch="..",
    ),
    _score(
        "leave-one-out",
        lambda _: leave_one_out,
        Problem.leave_one_out,
        grouped=True,
        colour=ORANGE,
        line=(0, (6, 2)),
        marker="v",
        hatch="xx",
    ),
    _Method(
        name="score function, antithetic",
        estimator=lambda _: antithetic,
        exact=Problem.antithetic,
        colour=SKY,
        line="-",
        marker="P",
        hatch="++",
    ),
    _Method(
        name="Taylor, first order",
        estimator=lambda _: taylor,
        exact=lambda problem: problem.taylor(1),
        colour=GREEN,
        line="-",
        marker="X",
        hatch="--",
    ),
    _Method(
        name="measure-valued, coupled",
        estimator=lambda _: measure_valued.given(coupled=True),
        exact=lambda problem: problem.measure_valued(coupled=True),
        colour=PURPLE,
        line="-",
        marker=">",
        hatch="\\\\",
    ),
    _Method(
        name="measure-valued, independent",
        estimator=lambda _: measure_valued.given(coupled=False),
        exact=lambda problem: problem.measure_valued(coupled=False),
        colour=PURPLE,
        line=(0, (6, 2)),
        marker="<",
        hatch="oo",
    ),
    _Method(
        name="finite difference, common",
        estimator=lambda problem: finite_difference.given(step=problem.step, common=True),
        exact=lambda problem: problem.finite_difference(common=True),
        colour=BLACK,
        line=(0, (1, 1.5)),
        marker="d",
    ),
    _Method(
        name="finite difference, independent",
        estimator=lambda problem: finite_difference.given(step=problem.step, common=False),
        exact=lambda problem: problem.finite_difference(common=False),
        colour=BLACK,
        line=(0, (6, 2)),
        marker="p",
    ),
)
"""In the order of the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One method at one mu.

    Args:
        method: Its name.
        mu: The location.
        mean: Of the gradient samples; None where the method refuses f.
        exact_mean: The derivative that all want.
        standard_error: Of the mean.
        variance: Of one gradient sample.
        exact_variance: What it should be.
        cost: Evaluations and derivatives of f for one gradient sample.
        variance_x_cost: Their product: with twice as much, the same accuracy takes twice the work.
        time: Seconds that a million gradient samples would take.
        note: Why there is no figure, or that it is biased and by how much.
    """

    method: str
    mu: float
    mean: float | None
    exact_mean: float
    standard_error: float | None
    variance: float | None
    exact_variance: float | None
    cost: float
    variance_x_cost: float | None
    time: float | None
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The table and the figures.

    Args:
        config: What was asked.
        measured: A line for each method at each mu.
        caption: What a reader of the table has to know.
    """

    config: Config
    measured: tuple[Measured, ...]
    caption: str = (
        "Variance and cost are of one gradient sample; an evaluation of f counts 1, and so does a derivative; "
        "time is in seconds for a million. The exact figures are integrals, right to rounding."
    )

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines as plain dictionaries."""
        return [{name: getattr(each, name) for name in Measured.__slots__} for each in self.measured]

    def figures(self) -> dict[str, Any]:
        """Draw the figures: how estimates spread, variance against mu, and which method wins where."""
        problem = self.config.problem()
        return {
            "spread": _spread(problem, seed=self.config.seed),
            "variance": _variances(problem, seed=self.config.seed),
            "winners": _winners(problem),
        }


def run(config: Config, *, track: Track = iter) -> Result:
    """Measure every method at every mu.

    Args:
        config: What is asked.
        track: Passes the parts of the work on while it shows progress.

    Raises:
        MisuseError: A number of the configuration is out of its range.

    Example:
        >>> rows = run(Config(f="linear", mu=(0.7,), samples=1000)).rows()
        >>> rows[0]["method"], rows[0]["mean"], rows[0]["exact_variance"]
        ('pathwise', 1.0, 0.0)
    """
    problem = config.problem()
    lines: dict[str, list[Measured]] = {}
    for method in METHODS:
        try:
            _sampled(method, problem, 2, seed=0)  # what a first call loads counts for nobody's time
        except MisuseError as error:
            lines[method.name] = list(_lines(method, problem, note=f"refused: {error}"))
    asked = [method for method in METHODS if method.name not in lines]
    drawn: list[Tensor] = []
    seconds = 0.0
    plan = [(each, *part) for each in asked for part in _parts(problem, config.samples, each)]
    for method, number, n in track(plan):
        start = time.perf_counter()
        drawn.append(_sampled(method, problem, n, seed=rng.seed_of(config.seed, method.name, number)))
        seconds += time.perf_counter() - start
        if number + n == config.samples:  # the last of this method, whose samples are then forgotten
            lines[method.name] = list(_lines(method, problem, torch.cat(drawn), seconds))
            drawn, seconds = [], 0.0
    in_order = [lines[method.name] for method in METHODS]
    return Result(config=config, measured=tuple(line for at_mu in zip(*in_order, strict=True) for line in at_mu))


def _parts(problem: Problem, samples: int, method: _Method) -> Iterator[tuple[int, int]]:
    """Divide the gradient samples into calls: a number, and how many estimates."""
    each = _samples(method, problem)
    most = max(1, AT_ONCE // (each * len(problem.mu)))
    yield from ((start, min(most, samples - start)) for start in range(0, samples, most))


def _sampled(method: _Method, problem: Problem, n: int, *, seed: int, samples: int | None = None) -> Tensor:
    """Return n gradients for each mu, (n, M), each from one sample, or one group, or so many samples."""
    samples = samples or _samples(method, problem)
    name = {"location": "loc", "scale": "scale"}[problem.parameter]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return gradient_samples(
            method.estimator(problem), problem.f.value, _normal(problem), n=n, samples=samples, of=[name]
        )[name]


def _normal(problem: Problem) -> Normal:
    return Normal(problem.mu.clone(), torch.full_like(problem.mu, problem.sigma))


def _lines(
    method: _Method, problem: Problem, drawn: Tensor | None = None, seconds: float = 0.0, *, note: str = ""
) -> Iterator[Measured]:
    """Yield the line of each mu, from gradient samples (n, M) or, without any, with a note that says why."""
    samples = _samples(method, problem)
    cost = method.cost(problem, samples=samples)
    each = _cost_of_one(method, problem)
    exact, truth = method.exact(problem), problem.truth
    for i, mu in enumerate(problem.mu.tolist()):
        bias = _plain(exact.mean[i] - truth[i]) if exact else 0.0
        biased = abs(bias) > 1e-9 * (1 + abs(_plain(truth[i])))
        line = Measured(
            method=method.name,
            mu=mu + 0.0,
            mean=None,
            exact_mean=_plain(truth[i]),
            standard_error=None,
            variance=None,
            exact_variance=_plain(exact.variance[i]) if exact else None,
            cost=each,
            variance_x_cost=None,
            time=None,
            note=note or (f"biased by {bias:.2g} at mu {mu + 0.0:g}" if biased else ""),
        )
        if drawn is not None:
            summary = summarize({"": drawn[:, i]}, cost)[""]
            variance = _plain(summary.variance) * samples
            line = replace(
                line,
                mean=_plain(summary.mean),
                standard_error=_plain(summary.standard_error),
                variance=variance,
                variance_x_cost=variance * each,
                time=seconds / (drawn.numel() * samples) * 1e6,
            )
        yield line


def _samples(method: _Method, problem: Problem) -> int:
    """Return how many samples of f are in one gradient sample, or in a group of them."""
    return problem.group if method.grouped else 1


def _cost_of_one(method: _Method, problem: Problem) -> float:
    """Return how many evaluations and derivatives of f one gradient sample costs."""
    samples = _samples(method, problem)
    cost = method.cost(problem, samples=samples)
    return (cost.evaluations + cost.gradients) / samples


def _plain(value: Tensor) -> float:
    return value.item() + 0.0  # which makes 0 of -0


# Figures


def _spread(problem: Problem, *, seed: int) -> Any:
    """Draw how estimates of a thousand samples lie about the truth, a panel for each mu."""
    repeats, shown = 200, problem.mu[:4]
    problem = replace(problem, mu=shown)
    jitter = torch.linspace(-0.32, 0.32, repeats)[torch.arange(repeats) * 79 % repeats]
    with drawing(3.8 + 3.2 * len(shown), 5.8, columns=len(shown), sharey=True) as (figure, axes):
        for row, method in enumerate(METHODS):
            try:
                drawn = _sampled(method, problem, repeats, seed=rng.seed_of(seed, "spread", row), samples=AVERAGED)
            except MisuseError:
                for panel in axes[0]:
                    panel.text(0.5, row, "refused", ha="center", va="center", transform=panel.get_yaxis_transform())
                continue
            for panel, estimates in zip(axes[0], drawn.T, strict=True):
                panel.plot(estimates, row + jitter, ".", color=method.colour, markersize=3, alpha=0.6)
        for panel, mu, truth in zip(axes[0], shown.tolist(), problem.truth.tolist(), strict=True):
            panel.axvline(truth, color=BLACK, linewidth=1, linestyle=(0, (2, 2)))
            panel.set_title(rf"$\mu$ = {mu:g}, truth {truth + 0.0:.4g}")
            panel.set_xlabel("gradient")
            panel.grid(visible=False, axis="y")
            panel.locator_params(axis="x", nbins=5)
        axes[0][0].set_yticks(range(len(METHODS)), [method.name for method in METHODS])
        axes[0][0].set_ylim(len(METHODS) - 0.4, -0.6)
        figure.suptitle(f"{_told(problem)}\n{repeats} estimates of {AVERAGED:,} samples each", fontsize="medium")
    return figure


def _told(problem: Problem) -> str:
    return rf"f = {problem.f.text}, gradient of the {problem.parameter}, $\sigma$ = {problem.sigma:g}"


def _variances(problem: Problem, *, seed: int) -> Any:
    """Draw the variance of a sample against mu: lines are exact, marks are measured."""
    reach = max(4.0, *(abs(mu) for mu in problem.mu.tolist()))
    fine = replace(problem, mu=torch.linspace(-reach, reach, 241, dtype=torch.float64))
    coarse = replace(problem, mu=torch.linspace(-reach, reach, 9, dtype=torch.float64))
    found: list[float] = []
    with drawing(10.5, 6) as (figure, ((panel,),)):
        for row, method in enumerate(METHODS):
            exact, at_marks = method.exact(fine), method.exact(coarse)
            if exact is None or at_marks is None:
                panel.plot([], [], " ", label=f"{method.name}: refused")
                continue
            curve = torch.where(exact.variance > 0, exact.variance, math.nan)
            found += curve[curve.isfinite()].tolist()
            name = method.name if curve.isfinite().any() else f"{method.name}: zero"
            drawn = _sampled(method, coarse, 20_000, seed=rng.seed_of(seed, "variance", row))
            marks = torch.where(at_marks.variance > 0, drawn.var(0) * _samples(method, problem), math.nan)
            style = {"color": method.colour, "marker": method.marker, "markersize": 8, "markeredgecolor": "white"}
            panel.plot(fine.mu, curve, color=method.colour, linestyle=method.line)
            panel.plot(coarse.mu, marks, linestyle="", **style)
            panel.plot([], [], linestyle=method.line, label=name, **style)
        panel.set_yscale("log")
        panel.set_ylim(min(found) / 2, max(found) * 2)
        panel.set_xlabel(r"$\mu$")
        panel.set_ylabel("variance of one gradient sample")
        panel.set_title(f"{_told(problem)}\nlines are exact, marks are measured")
        figure.legend(loc="outside right center", handlelength=3)
    return figure


def _winners(problem: Problem) -> Any:
    """Draw which method has the least variance, and the least variance times cost, over mu and sigma.

    Below, only those are asked that need no derivative of f; finite differences, which are biased, nowhere.
    """
    from matplotlib.patches import Patch  # noqa: PLC0415

    reach = max(4.0, *(abs(mu) for mu in problem.mu.tolist()))
    mus = torch.linspace(-reach, reach, 160, dtype=torch.float64)
    sigmas = torch.logspace(-1, 1, 41, base=4.0, dtype=torch.float64) * problem.sigma
    methods = [method for method in METHODS if method.estimator(problem).unbiased and method.exact(problem)]
    blind = torch.tensor([not method.cost(problem, samples=2).gradients for method in methods])
    grid = [replace(problem, mu=mus, sigma=sigma) for sigma in sigmas.tolist()]
    first = (
        1 + 1e-9 * torch.arange(len(methods), dtype=torch.float64)[:, None, None]
    )  # of equals, the first in the table
    variance = first * torch.stack([_stacked(method, grid) for method in methods])
    costs = torch.tensor([_cost_of_one(method, problem) for method in methods])[:, None, None]
    centred = [method.name for method in methods].index("score function, baseline E f")
    seen: set[int] = set()
    with drawing(11, 6.8, rows=2, columns=2, sharex=True, sharey=True) as (figure, axes):
        for row, asked in enumerate((torch.ones_like(blind), blind)):
            for panel, work in zip(axes[row], (variance, variance * costs), strict=True):
                won = torch.where(asked[:, None, None], work, math.inf).argmin(0)
                won[variance[centred] == 0] = -1  # f is constant there, as far as numbers tell
                for index, method in enumerate(methods):
                    where = won == index
                    if where.any():
                        seen.add(index)
                        look = {"colors": [method.pale], "hatches": [method.hatch]}
                        panel.contourf(mus, sigmas, where.float(), levels=[0.5, 1.5], **look)
                panel.set_yscale("log", base=2)
                panel.yaxis.set_major_formatter("{x:g}")
                panel.grid(visible=False)
        for row, what in enumerate(("all methods", "f only evaluated")):
            for panel, least in zip(axes[row], ("least variance", "least variance x cost"), strict=True):
                panel.set_title(f"{least}, {what}")
            axes[row][0].set_ylabel(r"$\sigma$")
        for panel in axes[1]:
            panel.set_xlabel(r"$\mu$")
        shown = [methods[index] for index in sorted(seen)]
        handles = [Patch(facecolor=each.pale, hatch=each.hatch, edgecolor=BLACK, label=each.name) for each in shown]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
        figure.suptitle(f"f = {problem.f.text}, gradient of the {problem.parameter}", fontsize="medium")
    return figure


def _stacked(method: _Method, grid: Sequence[Problem]) -> Float[Tensor, "S M"]:
    found = [method.exact(problem) for problem in grid]
    return torch.stack([each.variance for each in found if each])
