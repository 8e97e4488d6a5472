"""What a stateless estimator is: a function that says what it is good for."""

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, Generic, ParamSpec, TypeAlias, cast

from torch import Tensor
from torch.distributions import Distribution

from arzhang.types import Cost, Integrand, MisuseError

P = ParamSpec("P")
Function: TypeAlias = Callable[Concatenate[Integrand, Distribution, P], Tensor]
Price: TypeAlias = Callable[Concatenate[Distribution, P], Cost]


class Method(Generic[P]):
    """A function (f, q, *, samples=1, options) with what an ``Estimator`` declares."""

    def __init__(
        self,
        function: Function[P],
        *,
        unbiased: bool,
        needs: str,
        cost: Price[P],
    ) -> None:
        self.function, self.unbiased, self.needs, self.cost = function, unbiased, needs, cost
        functools.update_wrapper(self, function)

    def __call__(self, f: Integrand, q: Distribution, *args: P.args, **options: P.kwargs) -> Tensor:
        """Return the mean of f over samples of q, with this method's gradient."""
        return self.function(f, q, *args, **options)

    def given(self, *unnamed: P.args, **options: P.kwargs) -> "Method[P]":
        """Return the same method with these options for its defaults: an estimator like any other.

        Raises:
            MisuseError: It has no such option.

        Example:
            >>> from arzhang.estimators import taylor
            >>> import torch
            >>> q = torch.distributions.Normal(0.0, 1.0)
            >>> taylor.given(order=2).cost(q, samples=1)
            Cost(evaluations=2, gradients=6)
        """
        known = list(inspect.signature(self.function).parameters)[2:]
        wrong = [repr(each) for each in (*unnamed, *(set(options) - set(known)))]
        if wrong:
            name = getattr(self, "__name__", "The estimator")
            raise MisuseError(f"{name} was given {wrong[0]}; its options, each by its name, are {', '.join(known)}.")
        made: Method[P] = Method(
            cast("Function[P]", functools.partial(self.function, **options)),
            unbiased=self.unbiased,
            needs=self.needs,
            cost=cast("Price[P]", functools.partial(self.cost, **options)),
        )
        functools.update_wrapper(made, self.function)
        return made


def method(*, unbiased: bool, needs: str, cost: Price[P]) -> Callable[[Function[P]], Method[P]]:
    """Turn a function into a Method, as a decorator."""
    return lambda function: Method(function, unbiased=unbiased, needs=needs, cost=cost)
