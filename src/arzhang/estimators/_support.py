"""Log-probabilities at fixed points, where their gradient is the whole truth: where the support does not move."""

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.distributions import (
    ComposeTransform,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    Transform,
    TransformedDistribution,
    constraints,
)

from arzhang.distributions import described
from arzhang.estimators._contract import innermost
from arzhang.types import MisuseError


def log_prob(q: Distribution, points: Shaped[Tensor, "N ..."], *, method: str) -> Float[Tensor, "N ..."]:
    """Return the log-probability of points, up to a constant; its gradient for q's parameters holds the points still.

    Raises:
        MisuseError: q has no log-probability, or its support moves with its parameters.
    """
    if moves(q):
        raise MisuseError(
            f"{method} cannot see that the support of {described(q)} moves with its parameters, and its gradient would "
            "be wrong: use pathwise, or finite_difference, or a q whose support is fixed."
        )
    inner = innermost(q)
    try:
        each = _density(inner, points.detach())  # another object, for which no transform remembers where it came from
    except NotImplementedError as error:
        raise MisuseError(
            f"{method} needs a q with log_prob, and {described(q)} has none: use pathwise, or finite_difference."
        ) from error
    summed = tuple(range(len(inner.event_shape) - len(q.event_shape), 0))
    return each.sum(summed) if summed else each  # of an empty batch too, which Independent does not sum


def _density(inner: Distribution, points: Tensor) -> Tensor:
    """Return its log_prob, up to a number that does not depend on what requires a gradient."""
    if type(inner) is not Normal:
        return inner.log_prob(points)
    # Fewer passes over memory than torch's, backwards too; of one sample the gradient needs no sum over samples.
    at = points.squeeze(0) if len(points) == 1 else points
    each = ((at - inner.loc) / inner.scale).square() / -2
    each = each - inner.scale.log() if inner.scale.requires_grad else each
    return each.reshape(points.shape)


def moves(q: Distribution) -> bool:
    """Whether what is possible under q changes with a parameter of which a gradient is wanted."""
    if isinstance(q, Independent):
        return moves(q.base_dist)
    if isinstance(q, MixtureSameFamily):
        return moves(q.component_distribution)
    if isinstance(q, TransformedDistribution) and type(q).support is TransformedDistribution.support:
        if moves(q.base_dist):
            return True
        everywhere = _everywhere(q.base_dist.support)
        for transform in _flat(q.transforms):
            if not everywhere and any(each.requires_grad for each in _tensors(transform)):
                return True
            everywhere = everywhere and _everywhere(transform.codomain)
        return False
    return any(each.requires_grad for each in _tensors(q.support))


def _everywhere(support: Any) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real or support is constraints.real_vector


def _flat(transforms: Iterable[Transform]) -> Iterable[Transform]:
    for transform in transforms:
        if isinstance(transform, ComposeTransform):
            yield from _flat(transform.parts)
        else:
            yield transform


def _tensors(thing: Any) -> Iterable[Tensor]:
    """Yield the tensors in the attributes of a constraint or a transform, and of those in it."""
    if isinstance(thing, nn.Module):
        yield from thing.parameters()
    for name, value in list(vars(thing).items()):
        if name == "_cached_x_y":  # points, not parameters
            continue
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, Tensor):
                yield each
            elif isinstance(each, constraints.Constraint | Transform):
                yield from _tensors(each)
