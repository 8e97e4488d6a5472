"""What baselines with points of their own share."""

from arzhang.types import MisuseError


def at_least_one(samples: int) -> None:
    """Refuse a number of points that is too small."""
    if samples < 1:
        raise MisuseError(f"The baseline's number of samples is {samples}, and should be at least 1.")
