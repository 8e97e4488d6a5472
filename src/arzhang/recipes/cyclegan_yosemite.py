"""CycleGAN between the seasons of Yosemite."""

from dataclasses import replace
from pathlib import Path

from arzhang.data import unpaired
from arzhang.recipes.cyclegan import cyclegan
from arzhang.run import Run


def cyclegan_yosemite() -> Run:
    """CycleGAN between summer and winter, as CycleGAN distributes them; give --data.root where they are."""
    return replace(cyclegan(), data=unpaired.Config(root=Path("yosemite")))
