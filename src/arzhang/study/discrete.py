"""Discrete latents: how noisy each estimator leaves the encoder's gradient, in one training of an autoencoder.

A variational autoencoder with Bernoulli latents learns binarised digits. At several steps of that one training, at the
same parameters and on the same pictures, gradients are drawn again and again by each estimator, and their variance (the
trace of the covariance of the encoder's gradient) is compared with that of the score function with leave-one-out.

References:
    Dong, Mnih and Tucker, "DisARM", NeurIPS 2020, section 5.
    Grathwohl et al., "Backpropagation through the Void", ICLR 2018, section 5.2.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import rng
from arzhang.baselines import leave_one_out
from arzhang.estimators import disarm, rebar, relax, score_function
from arzhang.study._bernoulli_vae import BernoulliVae, Data, binarised, posterior
from arzhang.study._drawing import BLACK, BLUE, GREEN, VERMILLION, drawing
from arzhang.types import Cost, Estimator, MisuseError

METHODS = {
    "leave-one-out": ("leave-one-out", 2),
    "disarm": ("disarm", 1),
    "rebar": ("rebar", 2),
    "relax": ("relax", 2),
    "leave-one-out (6)": ("leave-one-out", 6),
    "disarm (6)": ("disarm", 3),
}
"""Each line of the table: an estimator and its samples, which are pairs for disarm. The last two evaluate f as often as
rebar and relax do."""
REFERENCE = "leave-one-out"
LOOKS = {
    "leave-one-out": (BLACK, "-", "o"),
    "disarm": (BLUE, "--", "s"),
    "rebar": (VERMILLION, "-.", "^"),
    "relax": (GREEN, ":", "D"),
}
"""Colour, dash and marker."""
CHUNK = 4000
"""Events of which gradients are drawn together."""
BOUND_SAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Compare estimators of an encoder's gradient through Bernoulli latents, in one training on binarised digits.

    At several steps gradients are drawn again and again by each estimator, at the same parameters and on the same
    pictures; their variance is the trace of the covariance.

    Example: arzhang study discrete --networks nonlinear --steps 2000
    """

    networks: Literal["linear", "nonlinear"] = "linear"
    """Encoder and decoder: one linear map each, or with two hidden layers."""
    latents: int = 20
    """Bernoulli latents."""
    steps: int = 1000
    """Steps of the training, by the score function with leave-one-out."""
    batch: int = 50
    """Pictures of a step, and of a comparison."""
    rate: float = 3e-3
    """Adam's rate, of the autoencoder and of the control variates."""
    looks: int = 5
    """At how many steps, evenly spread, the variances are compared."""
    draws: int = 400
    """Gradients that are drawn by each estimator for one variance."""
    seeds: int = 3
    """Trainings, each with its own data order, weights and samples, from which the intervals are."""
    seed: int = 0
    """Of the first training."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was found.

    Args:
        config: What was asked for.
        looked: The steps at which gradients were compared.
        variance: For each method the trace of the covariance of the encoder's gradient, in nats^2, for each seed and
            look.
        cost: For each method, of one gradient.
        bounded: The steps at which the bound was taken.
        bound: The evidence bound in nats for each picture, of the training and of the held-out pictures, for each seed.
        caption: What a reader of the table has to know.
    """

    config: Config
    looked: tuple[int, ...]
    variance: Mapping[str, Float[Tensor, "seeds looks"]]
    cost: Mapping[str, Cost]
    bounded: tuple[int, ...]
    bound: Mapping[str, Float[Tensor, "seeds bounds"]]
    caption: str = (
        "variance: the trace of the covariance, in nats^2, at the last step. relative: over the variance "
        "of leave-one-out, in the geometric mean over looks and seeds; low and high are its 95 % interval over seeds. "
        "samples: pairs for disarm. evaluations and gradients: of f, for one gradient and picture. work: relative, "
        "times the evaluations over those of leave-one-out. f is log p(x, b) - log q(b|x)."
    )

    def relative(self, method: str) -> tuple[float, tuple[float, float] | None]:
        """Return a method's variance over that of leave-one-out, and its 95 % interval by Student's t over seeds.

        It is the geometric mean over looks, then over seeds; one seed has no interval.
        """
        from scipy.special import stdtrit  # noqa: PLC0415

        ratio = (self.variance[method] / self.variance[REFERENCE]).log().mean(1)
        mean, n = float(ratio.mean()), len(ratio)
        if n < 2:
            return math.exp(mean), None
        half = float(stdtrit(n - 1, 0.975)) * float(ratio.std()) / math.sqrt(n)
        return math.exp(mean), (math.exp(mean - half), math.exp(mean + half))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each method, and then the bound at the first and the last step."""
        made: list[dict[str, Any]] = []
        for method, cost in self.cost.items():
            relative, interval = self.relative(method)
            made.append(
                {
                    "table": f"variance of the gradient of the {self.config.networks} encoder",
                    "method": method,
                    "samples": METHODS[method][1],
                    "evaluations": cost.evaluations,
                    "gradients": cost.gradients,
                    "variance": float(self.variance[method][:, -1].mean()),
                    "relative": relative,
                    "low": interval[0] if interval else None,
                    "high": interval[1] if interval else None,
                    "work": relative * cost.evaluations / self.cost[REFERENCE].evaluations,
                }
            )
        for index in (0, -1):
            at = {of.replace(" ", "_"): float(found[:, index].mean()) for of, found in self.bound.items()}
            made.append({"table": "evidence bound, nats for each picture", "step": self.bounded[index], **at})
        return made

    def figures(self) -> dict[str, Any]:
        """Draw the variances and the bound against steps."""
        with drawing(9, 3.8, columns=2) as (figure, ((left, right),)):
            for method, look in LOOKS.items():
                _curve(left, self.looked, self.variance[method] / self.variance[REFERENCE], look=look, label=method)
            left.set(
                xlabel="step",
                ylabel="variance / leave-one-out's",
                title=f"Gradient of the {self.config.networks} encoder, 2 samples",
            )
            left.set_ylim(0, 1.35 * left.get_ylim()[1])  # room for the legend
            for (of, found), look in zip(self.bound.items(), ((BLUE, "-", ""), (VERMILLION, "--", "")), strict=True):
                _curve(right, self.bounded, found, look=look, label=of)
            right.set(xlabel="step", ylabel="evidence bound (nats / picture)", title="What it learns")
            left.legend(ncols=2, loc="upper center")
            right.legend(loc="lower right")
        return {"discrete": figure}


def run(config: Config, *, track: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> Result:
    """Train, and compare the estimators on the way.

    Args:
        config: What to do.
        track: Hands steps on while it shows progress.

    Raises:
        MisuseError: A number of the configuration is too small.
    """
    _check(config)
    looked = tuple(config.steps * look // config.looks for look in range(1, config.looks + 1))
    bounded = tuple(sorted({config.steps * point // 20 for point in range(21)}))
    found = {method: torch.zeros(config.seeds, config.looks) for method in METHODS}
    bound = {of: torch.zeros(config.seeds, len(bounded)) for of in ("training", "held out")}
    with torch.random.fork_rng(devices=[]):
        for index in track(range(config.seeds * (config.steps + 1))):
            which, step = divmod(index, config.steps + 1)
            seed = config.seed + which
            torch.manual_seed(rng.seed_of(seed, "study", "discrete", step))
            if step == 0:
                training = _Training(config, seed)
            if step in bounded:
                for of, pictures in (("training", training.data.train), ("held out", training.data.held_out)):
                    bound[of][which, bounded.index(step)] = training.model.bound(pictures, samples=BOUND_SAMPLES)
            if step in looked:
                for method in METHODS:
                    found[method][which, looked.index(step)] = training.variance(method)
            if step < config.steps:
                training.step()
    q = posterior(torch.zeros(config.latents))
    cost = {method: training.estimators[of].cost(q, samples=samples) for method, (of, samples) in METHODS.items()}
    return Result(config=config, looked=looked, variance=found, cost=cost, bounded=bounded, bound=bound)


@final
class _Training:
    """One autoencoder, with the control variates that learn beside it and do not move it."""

    def __init__(self, config: Config, seed: int) -> None:
        self.config = config
        self.data: Data = binarised(seed=seed)
        self.model = BernoulliVae(self.data.train, latents=config.latents, nonlinear=config.networks == "nonlinear")
        self.controls = (rebar.Config().build().eval(), relax.Config(dimensions=config.latents).build().eval())
        self.estimators: dict[str, Estimator] = {
            "leave-one-out": score_function.given(baseline=leave_one_out),
            "disarm": disarm,
            "rebar": self.controls[0],
            "relax": self.controls[1],
        }
        learning = (self.model, *self.controls)
        self.optimiser = torch.optim.Adam([each for of in learning for each in of.parameters()], config.rate)
        self.compared = self._pictures()

    def step(self) -> None:
        """Let the autoencoder learn by leave-one-out, and the control variates from the same pictures."""
        x = self._pictures()
        logits = self.model.encode(x)
        f, q = self.model.integrand(x, logits), posterior(logits)
        loss = -self.estimators[REFERENCE](f, q, samples=2).mean()
        for control in self.controls:
            loss = loss + control.variance(f, q, samples=2)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def variance(self, method: str) -> float:
        """Return the trace of the covariance of the encoder's gradient, over draws for the same pictures."""
        estimator, samples = METHODS[method]
        x, parameters = self.compared, tuple(self.model.encoder.parameters())
        logits = self.model.encode(x)
        at_once = max(1, CHUNK // len(x))
        drawn = []
        for start in range(0, self.config.draws, at_once):
            some = min(at_once, self.config.draws - start)
            leaf = logits.detach().expand(some, *logits.shape).clone().requires_grad_()
            f = self.model.integrand(x, logits)
            value = self.estimators[estimator](f, posterior(leaf), samples=samples)
            (slopes,) = torch.autograd.grad(value.sum() / len(x), leaf)
            through = torch.autograd.grad(logits, parameters, slopes, retain_graph=True, is_grads_batched=True)
            drawn.append(torch.cat([each.flatten(1) for each in through], 1))
        return float(torch.cat(drawn).var(0).sum())

    def _pictures(self) -> Tensor:
        return self.data.train[torch.randint(len(self.data.train), (self.config.batch,))]


def _check(config: Config) -> None:
    least = {"latents": 1, "steps": 1, "batch": 1, "looks": 1, "draws": 2, "seeds": 1}
    for name, at_least in least.items():
        if getattr(config, name) < at_least:
            raise MisuseError(f"{name} is {getattr(config, name)}, and should be at least {at_least}.")
    if config.looks > config.steps:
        raise MisuseError(f"There are {config.looks} looks at a training of {config.steps} steps: ask for fewer.")
    if config.rate <= 0:
        raise MisuseError(f"rate is {config.rate:g}, and should be above 0.")


def _curve(
    axes: Any, x: Sequence[int], found: Float[Tensor, "seeds N"], *, look: tuple[str, str, str], label: str
) -> None:
    """Draw the mean over seeds, and as a band the least and the greatest."""
    colour, dash, marker = look
    axes.fill_between(x, found.amin(0), found.amax(0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, found.mean(0), color=colour, linestyle=dash, marker=marker, markersize=5, linewidth=1.8, label=label)
