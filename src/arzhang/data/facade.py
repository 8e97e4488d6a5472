"""Label maps of city houses and photo-like renderings of them, drawn without end from a seed.

A picture is made in three steps. The *plan* lists the parts of one house, each a shape with a look. The *looks* give
every pixel its colour, its relief out of the wall and its gloss. The *light* then falls on the relief, always from the
upper left: the shadows of cornices, sills, balconies and window reveals all come from that one map. Labels and photo
pass through the same perspective. The labels carry the colours of the CMP Facade Database.

References:
    Tylecek and Sara, Spatial Pattern Templates for Recognition of Objects with Regular Structure, GCPR 2013.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import Generator as Dice
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from arzhang import rng
from arzhang.data._facade_looks import LOOKS, Pixels, Style, Weather, draw_style, rgb
from arzhang.data._facade_plan import Part, draw_plan
from arzhang.types import MisuseError, Splits

Array = NDArray[Any]

PALETTE: Mapping[str, tuple[int, int, int]] = {
    "background": (0, 0, 222),
    "facade": (0, 48, 255),
    "window": (0, 128, 255),
    "door": (0, 207, 255),
    "cornice": (32, 255, 224),
    "sill": (112, 255, 143),
    "balcony": (192, 255, 63),
    "blind": (255, 240, 0),
    "deco": (255, 159, 0),
    "molding": (255, 80, 0),
    "pillar": (255, 0, 0),
    "shop": (174, 0, 0),
}
"""The classes of the CMP Facade Database and their colours, 8 bit RGB."""

_CLASS = np.array([list(PALETTE).index(look.label) for look in LOOKS.values()], dtype=np.uint8)
_SUPERSAMPLING = 2
_CUT = 0.06  # how much the perspective may cut from each side of the canvas
_CORNERS = np.array(((0, 0), (1, 0), (1, 1), (0, 1)))


def _noise(dice: Dice, side: int, rows: int, columns: int) -> Array:
    coarse = Image.fromarray(dice.standard_normal((rows, columns), dtype=np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).ravel()


def _outline(part: Part, side: int) -> tuple[tuple[slice, slice], Array | slice]:
    """Return the part's rectangle of the canvas, and what the part covers of it."""
    left, top, right, bottom = (round(min(max(edge, 0.0), 1.0) * side) for edge in part.box)
    rectangle = slice(top, bottom), slice(left, right)
    if not (part.arch or part.taper):
        return rectangle, slice(None)
    v, u = np.ogrid[0.5 : bottom - top, 0.5 : right - left]
    v, u = v / (bottom - top), abs(2 * u / (right - left) - 1)
    head = np.clip(1 - v / part.arch, 0, 1) if part.arch else 0
    return rectangle, (u**2 + head**2 <= 1) & (u <= 1 - part.taper * (1 - v))


def _owners(parts: list[Part], side: int) -> tuple[Array, Array]:
    """Return the index of each pixel's part, with the balconies, which are seen through, and without."""
    behind = np.zeros((side, side), dtype=np.int32)
    front = behind.copy()
    for index, part in enumerate(parts):
        rectangle, covered = _outline(part, side)
        front[rectangle][covered] = index
        if part.look != "balcony":
            behind[rectangle][covered] = index
    return front, behind


class Canvas(NamedTuple):
    """The class of every pixel, and, in flat arrays, its colour, relief and gloss."""

    label: Array
    colour: Array
    relief: Array
    gloss: Array


def _paint(parts: list[Part], style: Style, noise: Mapping[str, Array], dice: Dice) -> Canvas:
    side = round(noise["grain"].size ** 0.5)
    front, behind = (owner.ravel() for owner in _owners(parts, side))
    look = np.array([list(LOOKS).index(part.look) for part in parts], dtype=np.uint8)
    traits = np.array([(*part.box, part.arch, *dice.random(4)) for part in parts], dtype=np.float32).T.copy()
    colour = np.empty((3, side * side), dtype=np.float32)
    relief, gloss = np.empty((2, side * side), dtype=np.float32)
    front_look, behind_look = look[front], look[behind]
    for number, (name, material) in enumerate(LOOKS.items()):
        owner, owner_look = (front, front_look) if name == "balcony" else (behind, behind_look)
        place = np.flatnonzero(owner_look == number)
        surface = material.paint(Pixels(place, owner[place], traits, noise, side), style)
        place = place[surface.covers]
        relief[place], gloss[place] = material.relief + surface.relief, surface.gloss
        for channel, values in zip(colour, surface.colour, strict=True):  # three times as fast as colour[:, place]
            channel[place] = values
    return Canvas(_CLASS[front_look].reshape(side, side), colour, relief, gloss)


def _cast(relief: Array, dx: float, dy: float, fall: float, reach: int) -> Array:
    """Return how high above each pixel the shadow of the relief stands, which falls by ``fall`` with every pixel.

    The running maximum doubles its length at each pass, so a long shadow costs no more than a few passes.
    """
    high, length = relief.copy(), 1
    while length <= reach:
        x, y = round(dx * length), round(dy * length)
        shadow = high[: len(high) - y, : len(high) - x] - fall * length
        high[y:, x:] = np.maximum(high[y:, x:], shadow)
        length *= 2
    return high - relief


def _light(canvas: Canvas, dirt: Array, weather: Weather, dice: Dice) -> Array:
    """Return the light that leaves each pixel: direct sun in or out of shadow, the sky's in or out of a nook."""
    side = len(dirt)
    relief = canvas.relief.reshape(side, side) * side
    dirt = np.minimum(_cast(relief, 0.0, 1.0, 0.1, side // 8), 1.5) * dirt
    shadow = _cast(relief, dice.uniform(0.5, 1), dice.uniform(0.6, 1), dice.uniform(0.5, 0.9), side // 16).clip(0, 1)
    slope = np.zeros_like(relief)
    slope[1:, 1:] = relief[1:, 1:] - relief[:-1, :-1]
    sun = (1 - shadow) * (1 + 0.25 * slope).clip(0.6, 1.5)
    around = Image.fromarray(relief).reduce(4).resize((side, side), Image.Resampling.BICUBIC)
    open_sky = np.linspace(1.1, 0.85, side, dtype=np.float32)[:, None]
    sky = (1 - 0.09 * (np.asarray(around) - relief)).clip(0.55, 1.15) * open_sky
    light: Array = rgb(weather.sun) * sun.ravel() + rgb(weather.ambient) * sky.ravel()
    light += canvas.gloss * (1 - light)
    light *= (canvas.colour * (1 - dirt.ravel())) ** 2
    return light


def _view(image: Image.Image, corners: Array, side: int, resample: Image.Resampling) -> Image.Image:
    """Look through a window of the canvas, whose corners become the corners of the picture, in perspective."""
    source, target = corners * image.width, _CORNERS * side
    equations = []
    for (x, y), (X, Y) in zip(target, source, strict=True):
        equations += [(x, y, 1, 0, 0, 0, -X * x, -X * y), (0, 0, 0, x, y, 1, -Y * x, -Y * y)]
    homography = np.linalg.solve(equations, source.ravel()).tolist()
    return image.transform((side, side), Image.Transform.PERSPECTIVE, homography, resample)


def _photograph(light: Array, corners: Array, weather: Weather, dice: Dice, size: int) -> Array:
    """Expose, project, blur and add the noise of a sensor: from light to a photo in 0 to 255."""
    side = _SUPERSAMPLING * size
    light += weather.haze * (rgb(weather.horizon) - light)
    light *= dice.uniform(1.0, 1.45) * dice.normal(1, 0.025, (3, 1)).astype(np.float32)
    exposed = (255 * np.sqrt(light / (1 + 0.3 * light))).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(exposed.T).reshape(side, side, 3))
    image = _view(image, corners, side, Image.Resampling.BILINEAR).reduce(_SUPERSAMPLING)
    image = image.filter(ImageFilter.GaussianBlur(dice.uniform(0, 0.4) * size / 128))
    drops = _noise(dice, size, size // 12 + 1, size).reshape(size, size).clip(1.2, 3) - 1.2
    away = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    vignette = 1 - dice.uniform(0, 0.1) * (away[:, None] + away)
    grey = dice.standard_normal((size, size), dtype=np.float32) * dice.uniform(0.7, 2.5) + weather.rain * 20 * drops
    hues = dice.standard_normal((size, size, 3), dtype=np.float32)
    photo: Array = (np.asarray(image) * vignette[..., None] + grey[..., None] + hues).clip(0, 255)
    return photo


def draw(dice: Dice, size: int, *, weather: Weather | None = None) -> tuple[Array, Array]:
    """Draw one house: its label map in class indices, its photo in 0 to 255.

    The same dice give the same house in every weather; without one, a weather is drawn.
    """
    parts, style = draw_plan(dice), draw_style(dice)
    style = style._replace(weather=weather or style.weather)
    side = _SUPERSAMPLING * size
    noise: dict[str, Array] = {
        "grain": dice.standard_normal(side * side, dtype=np.float32),
        "clouds": 0.6 * _noise(dice, side, 5, 5) + 0.4 * _noise(dice, side, 12, 12) + 0.25 * _noise(dice, side, 28, 28),
        "streaks": _noise(dice, side, 6, 90),
        "blotches": _noise(dice, side, 45, 45),
    }
    canvas = _paint(parts, style, noise, dice)
    streaks = (0.5 + noise["streaks"].reshape(side, side)).clip(0, 2)
    dirt = dice.uniform(0, 0.1) * streaks * (canvas.label == list(PALETTE).index("facade"))
    light = _light(canvas, dirt, style.weather, dice)
    skewed = dice.choice([0.0, 0.3, 1.0]) * dice.uniform(0, 0.75, (4, 2))
    corners = _CORNERS + _CUT * (0.25 + skewed) * (1 - 2 * _CORNERS)
    classes = _view(Image.fromarray(canvas.label), corners, size, Image.Resampling.NEAREST)
    return np.asarray(classes), _photograph(light, corners, style.weather, dice, size)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Facades:
    """One split: ``count`` fixed houses, or as many as generators are passed."""

    size: int
    count: int
    seed: int
    split: str

    def __len__(self) -> int:
        return self.count

    def example(self, index: int, generator: torch.Generator | None) -> dict[str, Float[Tensor, "3 H W"]]:
        """Draw a house from the generator; without one, the house that always has this index."""
        if generator is None:
            generator = rng.generator(self.seed, "facade", self.split, index)
        dice = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        classes, photo = draw(dice, self.size)
        label = np.array(list(PALETTE.values()), dtype=np.float32)[classes]
        return {
            name: torch.from_numpy(image).permute(2, 0, 1).contiguous() / 127.5 - 1
            for name, image in (("source", label), ("target", photo.astype(np.float32)))
        }

    def name(self, index: int) -> str:
        """Return what people call this house."""
        return f"facade {index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """City houses drawn without end: label maps and photo-like renderings, offline.

    Example:
        >>> splits = Config(size=32).build(seed=0)
        >>> splits.train.example(0, rng.generator(0, "epoch", 0))["source"].shape
        torch.Size([3, 32, 32])
    """

    size: int = 128
    """Pixels of each side, at least 32."""
    count: int = 400
    """Pictures that make an epoch."""
    held_out: int = 40
    """Pictures kept for judging."""

    def build(self, *, seed: int) -> Splits:
        """Name the houses; they are drawn when they are asked for.

        Args:
            seed: Decides every house of both splits.

        Raises:
            MisuseError: The pictures are too small for a house, or a split is empty.
        """
        if self.size < 32:
            raise MisuseError(f"A facade of {self.size} pixels shows no windows; set size to 32 or more.")
        if min(self.count, self.held_out) < 1:
            raise MisuseError(
                f"Both splits need a picture, but count is {self.count} and held_out is {self.held_out}; set 1 or more."
            )
        return Splits(
            train=Facades(size=self.size, count=self.count, seed=seed, split="train"),
            held_out=Facades(size=self.size, count=self.held_out, seed=seed, split="held out"),
        )
