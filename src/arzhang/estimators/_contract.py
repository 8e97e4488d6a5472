"""What every estimator does alike: look at q, call f once, check what came back, and carry another gradient."""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from arzhang.distributions import described
from arzhang.types import Integrand, MisuseError

# The derivatives of these are zero wherever they exist: no gradient comes through them.
STEPS = (
    "SignBackward",
    "SgnBackward",
    "FloorBackward",
    "CeilBackward",
    "RoundBackward",
    "TruncBackward",
    "BernoulliBackward",
    "BinomialBackward",
    "PoissonBackward",
)


def at_least_one(samples: int, *, least: int = 1) -> None:
    """Refuse a number of samples that is too small."""
    if samples < least:
        raise MisuseError(f"The number of samples is {samples}, and should be at least {least}.")


def lacking(method: str, needs: str, q: Distribution, instead: str) -> MisuseError:
    """Return the error of a q that does not offer what a method needs."""
    return MisuseError(f"{method} needs {needs}, which {described(q)} is not: {instead}.")


def innermost(q: Distribution) -> Distribution:
    """Return what ``Independent`` wraps, however often."""
    while isinstance(q, Independent):
        q = q.base_dist
    return q


def draw(q: Distribution, samples: int) -> Shaped[Tensor, "N ..."]:
    """Return samples through which no gradient goes."""
    with torch.no_grad():  # torch.normal, which Normal.sample calls, looks for its least scale: two passes more
        return q.rsample((samples,)) if isinstance(innermost(q), Normal) else q.sample((samples,))


def evaluate(f: Integrand, points: Shaped[Tensor, "N ..."], q: Distribution) -> Float[Tensor, "N ..."]:
    """Return f at all points, (N, *batch, *event), in one call; the values are (N, *batch).

    On a GPU nobody looks for NaN, since the step would have to wait for the answer.

    Raises:
        MisuseError: f returned something else, or NaN.
    """
    values: Any = f(points)
    expected = points.shape[: points.ndim - len(q.event_shape)]
    if not isinstance(values, Tensor):
        raise MisuseError(f"f returned a {type(values).__name__}, and should return a tensor, a value for each point.")
    if values.shape != expected:
        raise MisuseError(
            f"f returned values of shape {tuple(values.shape)} for points of shape {tuple(points.shape)}, and should "
            f"return {tuple(expected)}: one value for each point of {len(q.event_shape)} dimensions."
        )
    if not values.is_floating_point():
        raise MisuseError(f"f returned values of type {values.dtype}, and should return floating-point numbers.")
    if values.is_cpu and values.detach().sum().isnan() and values.isnan().any():  # the sum may be of inf and -inf
        count = int(values.isnan().sum())
        raise MisuseError(f"f returned NaN at {count} of {values.numel()} points of {described(q)}: look at f there.")
    return values


def differentiable(values: Float[Tensor, "..."], points: Float[Tensor, "..."], *, method: str) -> None:
    """Refuse values that do not depend differentiably on the points, though a gradient is to come through them.

    The graph is walked from the values down; operations whose derivative is zero wherever it exists are no way through.

    Raises:
        MisuseError: There is no way from the values to the points.
    """
    if not points.requires_grad:
        return
    goal = points.grad_fn if points.grad_fn is not None else points
    seen, left = set(), [values.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen or node.name().startswith(STEPS):
            continue
        if getattr(node, "_saved_rounding_mode", None) is not None:  # a division that rounds
            continue
        if node is goal or getattr(node, "variable", None) is goal:
            return
        seen.add(node)
        left += [after for after, _ in node.next_functions]
    raise MisuseError(
        f"{method} takes the gradient through f, and f does not depend differentiably on its points (it is constant, "
        "steps, or leaves torch): use score_function, or measure_valued, which need no derivative."
    )


def reaches_more(values: Float[Tensor, "..."], points: Float[Tensor, "..."]) -> bool:
    """Return whether a gradient of f goes anywhere but to its points."""
    start = points.grad_fn
    seen, left = {start}, [values.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if hasattr(node, "variable"):
            if node.variable is not points:
                return True
            continue
        seen.add(node)
        left += [after for after, _ in node.next_functions]
    return False


def average(values: Shaped[Tensor, "N ..."]) -> Shaped[Tensor, "..."]:
    """Return the mean over the samples, without a pass over memory where there is one."""
    return values.squeeze(0) if len(values) == 1 else values.mean(0)


def flat(tensor: Shaped[Tensor, "..."], event: int) -> Shaped[Tensor, "... D"]:
    """Return a tensor whose last ``event`` dimensions, which may be none, are one."""
    return tensor.flatten(-event) if event else tensor.unsqueeze(-1)


def carried(value: Float[Tensor, "..."], carrier: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the value, whose gradient is its own and the carrier's, whatever the carrier's value.

    Example:
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> y = carried(torch.tensor(5.0), float("inf") * x)
        >>> y, torch.autograd.grad(y, x)
        (tensor(5., grad_fn=<_CarriedBackward>), (tensor(inf),))
    """
    apply: Any = _Carried.apply
    made: Tensor = apply(value, carrier)
    return made


def taught(value: Float[Tensor, "..."], lesson: Float[Tensor, ""]) -> Float[Tensor, "..."]:
    """Return the value; whenever it is differentiated, so is the lesson, whatever the sign and weight of the value.

    So what an estimator has to learn descends, whether the estimate itself is raised or lowered.

    Example:
        >>> x, y = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
        >>> torch.autograd.grad(-7 * taught(y, x**2), (x, y))
        (tensor(4.), tensor(-7.))
    """
    apply: Any = _Taught.apply
    made: Tensor = apply(value, lesson)
    return made


class _Carried(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, carrier: Tensor) -> Tensor:  # noqa: ARG004
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG004
        return gradient, gradient


class _Taught(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, lesson: Tensor) -> Tensor:
        del lesson
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.one = torch.ones_like(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, ctx.one
