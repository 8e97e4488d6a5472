"""What a distribution's parameters are, and the same distribution with others."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    ComposeTransform,
    Distribution,
    Independent,
    MixtureSameFamily,
    Transform,
    TransformedDistribution,
)

from arzhang.types import MisuseError

# Constructors take one of each of these; the others follow from it.
ALTERNATIVES = (
    {"probs", "logits", "weights"},
    {"covariance_matrix", "precision_matrix", "scale_tril", "scale"},
)


def parameters_of(q: Distribution) -> dict[str, Tensor]:
    """Return the tensors that a distribution was made from, by the names of its constructor.

    What is inside of ``Independent`` and of transforms counts; a mixture's are ``mixture.*`` and ``component.*``.

    Raises:
        MisuseError: A transform has something to learn, which is not a parameter that could be exchanged.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> parameters_of(Bernoulli(logits=torch.zeros(2)))
        {'logits': tensor([0., 0.])}
    """
    if isinstance(q, Independent):
        return parameters_of(q.base_dist)
    if isinstance(q, MixtureSameFamily):
        parts = {"mixture": q.mixture_distribution, "component": q.component_distribution}
        return {f"{part}.{name}": each for part, of in parts.items() for name, each in parameters_of(of).items()}
    if type(q) is TransformedDistribution:
        if any(tensor.requires_grad for tensor in _tensors(q.transforms)):
            raise MisuseError(
                f"A transform of {described(q)} has something to learn, and only what is below the transforms can be "
                "taken for parameters: use the pathwise estimator, which needs none."
            )
        return parameters_of(q.base_dist)
    names = set(q.arg_constraints) - {"total_count"}
    for alternatives in ALTERNATIVES:
        if len(names & alternatives) > 1:
            names -= alternatives - {_given(q, alternatives)}
    return {name: getattr(q, name) for name in q.arg_constraints if name in names}


def with_parameters(q: Distribution, parameters: Mapping[str, Tensor]) -> Distribution:
    """Return the same kind of distribution with other parameters, which may have more dimensions in front.

    Raises:
        MisuseError: It cannot be made anew from its parameters.

    Example:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> wide = {"loc": torch.ones(5, 2), "scale": torch.ones(5, 2)}
        >>> with_parameters(Independent(Normal(torch.zeros(2), torch.ones(2)), 1), wide)
        Independent(Normal(loc: torch.Size([5, 2]), scale: torch.Size([5, 2])), 1)
    """
    if isinstance(q, Independent):
        return Independent(with_parameters(q.base_dist, parameters), q.reinterpreted_batch_ndims)
    if isinstance(q, MixtureSameFamily):
        parts = {"mixture": q.mixture_distribution, "component": q.component_distribution}
        made = {
            part: with_parameters(
                of, {name.removeprefix(f"{part}."): each for name, each in parameters.items() if name.startswith(part)}
            )
            for part, of in parts.items()
        }
        return MixtureSameFamily(cast("Categorical", made["mixture"]), made["component"])
    if type(q) is TransformedDistribution:
        return TransformedDistribution(with_parameters(q.base_dist, parameters), q.transforms)
    taken = set(inspect.signature(type(q)).parameters) - {"validate_args"}
    fixed = taken - (set(q.arg_constraints) - {"total_count"})
    kind: Callable[..., Distribution] = type(q)
    try:
        return kind(**parameters, **{name: _constant(q, name) for name in fixed}, validate_args=False)
    except (AttributeError, TypeError) as error:
        raise MisuseError(
            f"A {described(q)} cannot be made anew from {', '.join(parameters) or 'parameters, having none'}: {error}."
        ) from error


def described(q: Distribution) -> str:
    """Return what a distribution is called in a sentence.

    Example:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> described(Independent(Normal(torch.zeros(2), torch.ones(2)), 1))
        'Independent(Normal)'
    """
    inner = {
        Independent: "base_dist",
        TransformedDistribution: "base_dist",
        MixtureSameFamily: "component_distribution",
    }
    name = type(q).__name__
    return f"{name}({described(getattr(q, inner[type(q)]))})" if type(q) in inner else name


def _given(q: Distribution, alternatives: set[str]) -> str | None:
    """Return which of them the constructor was given."""
    holder: Any = q
    while type(holder) is not TransformedDistribution and isinstance(holder, TransformedDistribution):
        holder = holder.base_dist  # such as RelaxedBernoulli's, which holds what it was given
    holder = getattr(holder, "_categorical", holder)
    names = [name for name in alternatives if name in q.arg_constraints]
    chosen = getattr(holder, "_param", None)
    if chosen is not None:
        return next((name for name in names if getattr(holder, name) is chosen), None)
    return next((name for name in vars(holder) if name in names), None)  # the first; the others are computed later


def _constant(q: Distribution, name: str) -> Any:
    return getattr(q, name if hasattr(q, name) else f"_{name}")


def _tensors(transforms: Iterable[Transform]) -> Iterable[Tensor]:
    for transform in transforms:
        if isinstance(transform, ComposeTransform):
            yield from _tensors(transform.parts)
        for value in vars(transform).values():
            if isinstance(value, Tensor):
                yield value
        if isinstance(transform, nn.Module):
            yield from transform.parameters()
