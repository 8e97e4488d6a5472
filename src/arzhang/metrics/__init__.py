"""Metrics: how good pictures are, one a file; the function has the file's name."""

from arzhang.metrics.cmmd import cmmd as cmmd
from arzhang.metrics.density_coverage import density_coverage as density_coverage
from arzhang.metrics.fid import fid as fid
from arzhang.metrics.fid_infinity import fid_infinity as fid_infinity
from arzhang.metrics.inception_score import inception_score as inception_score
from arzhang.metrics.kid import kid as kid
from arzhang.metrics.l1 import l1 as l1
from arzhang.metrics.lpips import lpips as lpips
from arzhang.metrics.ms_ssim import ms_ssim as ms_ssim
from arzhang.metrics.ppl import ppl as ppl
from arzhang.metrics.prd import prd as prd
from arzhang.metrics.precision_recall import precision_recall as precision_recall
from arzhang.metrics.psnr import psnr as psnr
from arzhang.metrics.ssim import ssim as ssim

__all__ = [
    "cmmd",
    "density_coverage",
    "fid",
    "fid_infinity",
    "inception_score",
    "kid",
    "l1",
    "lpips",
    "ms_ssim",
    "ppl",
    "prd",
    "precision_recall",
    "psnr",
    "ssim",
]
