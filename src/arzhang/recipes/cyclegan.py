"""CycleGAN as published."""

from arzhang.data import domains
from arzhang.models import cyclegan as model
from arzhang.run import Adam, Run


def cyclegan() -> Run:
    """CycleGAN as in the paper: 256 pixels, batch 1, 100 epochs at a constant rate and 100 with it going down to 0."""
    return Run(
        model=model.Config(),
        data=domains.Config(size=256),
        optimiser=Adam(schedule="linear"),
        epochs=200,
        judge_every=2000,
        checkpoint_every=2000,
        best="cycle",
    )
