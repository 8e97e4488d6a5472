"""Losses: adversarial ones, an ``Adversarial`` each, and distances between pictures, functions of output and target."""

from arzhang.losses.hinge import hinge as hinge
from arzhang.losses.l1 import l1 as l1
from arzhang.losses.l2 import l2 as l2
from arzhang.losses.lsgan import lsgan as lsgan
from arzhang.losses.minimax import minimax as minimax
from arzhang.losses.vanilla import vanilla as vanilla
from arzhang.losses.wgan_gp import wgan_gp as wgan_gp

__all__ = ["hinge", "l1", "l2", "lsgan", "minimax", "vanilla", "wgan_gp"]
