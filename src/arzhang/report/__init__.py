"""What people look at: a page that can be sent to somebody, and the same numbers for machines."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from arzhang import files, images
from arzhang.report._page import render
from arzhang.report._parts import Curve, Figure, Map, Panel, Report, Row, Table, plain

__all__ = ["Curve", "Figure", "Map", "Panel", "Report", "Row", "Table", "overlay", "plain", "write"]

LAPIS = (-0.75, -0.35, 0.55)
GOLD = (0.95, 0.45, -0.65)


def write(report: Report, folder: Path) -> Path:
    """Write ``report.html``, which needs no other file, and ``report.json``, which has everything but the pictures.

    Each replaces an earlier one only when it is complete. The same report gives the same bytes.

    Returns:
        The path of the page.

    Example:
        >>> import tempfile
        >>> report = Report(title="A model", figures=(Figure(name="L1", value=0.18, better="lower"),))
        >>> write(report, Path(tempfile.mkdtemp())).name
        'report.html'
    """
    page = folder / "report.html"
    numbers = json.dumps(plain(report), ensure_ascii=False, allow_nan=False)
    texts = {folder / "report.json": numbers, page: render(report)}
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        # A file's name need not be Unicode; what cannot be encoded is spelled out, which JSON reads back.
        files.write_whole(path, text.encode(errors="backslashreplace"))
    return page


def overlay(image: Float[Tensor, "3 H W"], heat: Float[Tensor, "h w"]) -> Float[Tensor, "3 H W"]:
    """Return a grey copy of the image, tinted by a map of verdicts in [0, 1]: gold at 0, untinted at 0.5, lapis at 1.

    The two colours differ in hue and in lightness, so that nobody mistakes one for the other; the picture is grey so
    that its own colours are not read as verdicts. Say in the panel's caption what the two ends mean.

    Example:
        >>> overlay(torch.zeros(3, 4, 4), torch.tensor([[0.5]])).unique().item()
        0.0
    """
    heat = heat.nan_to_num(0.5).clamp(0, 1)[None, None]
    heat = functional.interpolate(heat, image.shape[1:], mode="bilinear", align_corners=False)[0]
    grey = images.luma(image)
    tint = torch.where(heat < 0.5, image.new_tensor(GOLD)[:, None, None], image.new_tensor(LAPIS)[:, None, None])
    return torch.lerp(grey.expand_as(tint), tint, 0.7 * (2 * heat - 1).abs())
