"""Pix2Pix on the CMP facades, from label to photo."""

from pathlib import Path

from arzhang.data import paired
from arzhang.models import pix2pix as model
from arzhang.run import Run


def pix2pix_facades() -> Run:
    """Pix2Pix from label to photo on the CMP facades as pix2pix distributes them; give --data.root where they are."""
    return Run(
        model=model.Config(),
        data=paired.Config(root=Path("facades"), direction="b-to-a"),
        epochs=200,
        judge_every=4000,
        checkpoint_every=2000,
    )
