"""A conditional GAN of MNIST."""

from arzhang.data import mnist
from arzhang.models import cgan as model
from arzhang.run import Adam, Run


def cgan_mnist() -> Run:
    """A conditional GAN on MNIST, which draws the digit that is asked for: a quarter of an hour on two cores."""
    return Run(
        model=model.Config(),
        data=mnist.Config(),
        optimiser=Adam(rate=5e-4, betas=(0.5, 0.999), schedule="linear"),
        batch=64,
        steps=6000,
        ema=0.999,
        best="fid",
        features="lenet",
        log_every=100,
        judge_every=1000,
        checkpoint_every=1000,
    )
