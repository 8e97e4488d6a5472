"""What metrics ask of sets of features before they compute anything."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from arzhang.types import ArzhangError

ROWS = 4096  # which are looked at together, since a copy of all could be large


def check(sets: Mapping[str, Float[Tensor, "_ _"]], *, least: int = 2) -> None:
    """Refuse sets, under the names that they are to be called by, that cannot be measured.

    Raises:
        ArzhangError: A set has fewer samples than the least, a number is not finite, or the sets differ in dimensions.
    """
    for name, features in sets.items():
        if len(features) < least:
            raise ArzhangError(f"There are {len(features)} samples in the {name} set, and this takes at least {least}.")
        for start in range(0, len(features), ROWS):
            for row in (~features[start : start + ROWS].isfinite()).any(1).nonzero()[:1]:
                raise ArzhangError(
                    f"The features of sample {start + int(row)} of the {name} set are not finite: look at that "
                    "picture, and at the extractor's weights."
                )
    same_dimensions(**{name: features.shape[1] for name, features in sets.items()})


def same_dimensions(**dimensions: int) -> None:
    """Refuse features of different extractors.

    Raises:
        ArzhangError: The numbers of dimensions differ.
    """
    if len(set(dimensions.values())) > 1:
        found = " and ".join(f"{count} ({name})" for name, count in dimensions.items())
        raise ArzhangError(f"Features of {found} dimensions cannot be compared: take both from one extractor.")
