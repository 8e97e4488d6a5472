"""What a stateless estimator is: a function that says what it is good for."""

import functools
from collections.abc import Callable
from typing import Concatenate, Generic, ParamSpec

from torch import Tensor
from torch.distributions import Distribution

from arzhang.types import Cost, Integrand

P = ParamSpec("P")


class Method(Generic[P]):
    """A function (f, q, *, samples=1, options) with what an ``Estimator`` declares."""

    def __init__(
        self,
        function: Callable[Concatenate[Integrand, Distribution, P], Tensor],
        *,
        unbiased: bool,
        needs: str,
        cost: Callable[Concatenate[Distribution, P], Cost],
    ) -> None:
        self.function, self.unbiased, self.needs, self.cost = function, unbiased, needs, cost
        functools.update_wrapper(self, function)

    def __call__(self, f: Integrand, q: Distribution, *args: P.args, **options: P.kwargs) -> Tensor:
        """Return the mean of f over samples of q, with this method's gradient."""
        return self.function(f, q, *args, **options)
