"""What the parts of a house are made of: colour, relief out of the wall and gloss of every pixel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator as Dice
from numpy.typing import NDArray

Array = NDArray[Any]
Index = NDArray[np.integer[Any]]
Colour = tuple[float, float, float]


class Weather(NamedTuple):
    """Linear light of the sun and of the sky on a matt surface, the sky itself, and what else changes a photo."""

    sun: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    clouds: float
    haze: float = 0.0
    rain: float = 0.0
    lamps: float = 0.0

    @property
    def daylight(self) -> Array:
        """Square root of the light that a room or a street gets."""
        return np.sqrt(rgb(self.ambient) + 0.4 * rgb(self.sun))


NOON = Weather((1.35, 1.22, 1.02), (0.25, 0.3, 0.39), (0.13, 0.3, 0.66), (0.5, 0.66, 0.85), clouds=0.6)
_EVENING = Weather((1.4, 1.0, 0.62), (0.27, 0.29, 0.39), (0.25, 0.38, 0.62), (0.85, 0.7, 0.5), clouds=0.5, haze=0.04)
_GREY = Weather((0.25, 0.25, 0.24), (0.78, 0.8, 0.84), (0.65, 0.69, 0.75), (0.86, 0.87, 0.88), clouds=0.2, lamps=0.03)
_HAZE = Weather((0.7, 0.64, 0.55), (0.5, 0.51, 0.53), (0.62, 0.7, 0.8), (0.85, 0.84, 0.8), clouds=0.1, haze=0.15)
_RAIN = Weather(
    (0.08, 0.08, 0.09), (0.58, 0.61, 0.66), (0.42, 0.46, 0.52), (0.58, 0.61, 0.65), 0.5, haze=0.06, rain=1.0, lamps=0.12
)
_DUSK = Weather((0.25, 0.15, 0.12), (0.27, 0.3, 0.42), (0.08, 0.13, 0.32), (0.62, 0.4, 0.36), clouds=0.5, lamps=0.45)
NIGHT = Weather((0.1, 0.11, 0.16), (0.06, 0.07, 0.12), (0.01, 0.015, 0.04), (0.06, 0.07, 0.13), clouds=0.3, lamps=1.0)
_WEATHERS = 8 * [NOON] + 4 * [_EVENING] + 4 * [_GREY] + [_HAZE, _RAIN, _DUSK]


def rgb(colour: Colour) -> Array:
    """Return a colour as a float32 column, which multiplies N pixels to an array of three rows."""
    return np.array(colour, dtype=np.float32)[:, None]


_PLASTERS = (0xDEBE78, 0xE6D8B8, 0xD8A582, 0xBEBAB2, 0xECE8DC, 0xB4A48C, 0xD2C898, 0xB6C0B6, 0xE0B4A0, 0xC8A060)
_BRICKS = (0x96543F, 0xAA684E, 0x804E42, 0xBE9670, 0xA07860)
_FRAMES = (0xF0EEE8, 0xF0EEE8, 0xE4E0D6, 0x5C4230, 0x464A4A, 0x3E5242)
_SHUTTERS = (0x48604C, 0x704E36, 0x788286, 0x465C74, 0x8C3E34, 0xD2CCBE)
_ROOFS = (0x964E3A, 0x5C5C62, 0x785444, 0x6E7674)
_DOORS = (0x60402A, 0x384A3E, 0x3E322C, 0x6E2E28, 0x3C4254)
_ACCENTS = (0x28426E, 0x8C2424, 0x2C583C, 0x302C2A, 0xC49632, 0x783C5A)


class Style(NamedTuple):
    """What all parts of one picture share."""

    weather: Weather
    wall: Array
    ground: Array
    trim: Array
    frame: Array
    shutter: Array
    roof: Array
    door: Array
    accent: Array
    neighbour: Array
    masonry: str
    rusticated: bool
    panes: int
    transom: float
    iron: bool
    reflection: float


def draw_style(dice: Dice) -> Style:
    """Draw the weather, and the materials and colours of a house."""

    def pick(colours: tuple[int, ...]) -> Array:
        colour = int(dice.choice(colours))
        channels = np.array((colour >> 16, colour >> 8 & 255, colour & 255)) / 255
        return (channels * dice.normal(1, 0.07) * dice.normal(1, 0.02, 3))[:, None].clip(0.03, 0.97).astype(np.float32)

    masonry = str(dice.choice(["brick", "plaster", "stone"], p=[0.27, 0.55, 0.18]))
    wall = pick(_BRICKS if masonry == "brick" else _PLASTERS)
    pale = pick((0xE6E0D2,))
    return Style(
        weather=_WEATHERS[dice.integers(len(_WEATHERS))],
        wall=wall,
        ground=0.85 * wall if dice.random() < 0.5 else 0.8 * pale,
        trim=pale if dice.random() < 0.6 else wall + 0.5 * (pale - wall),
        frame=pick(_FRAMES),
        shutter=pick(_SHUTTERS),
        roof=pick(_ROOFS),
        door=pick(_DOORS),
        accent=pick(_ACCENTS),
        neighbour=0.9 * pick(_PLASTERS + _BRICKS),
        masonry=masonry,
        rusticated=bool(dice.random() < 0.7),
        panes=int(dice.choice([1, 2, 2, 2, 3])),
        transom=float(dice.choice([0.3, 0.36, 0.5, 2.0])),
        iron=bool(dice.random() < 0.7),
        reflection=dice.uniform(0.3, 0.9),
    )


@dataclass(frozen=True)
class Pixels:
    """The pixels of one look, measured when a look asks; lengths are shares of the canvas."""

    place: Index  # in the flat canvas
    part: Index
    traits: Array  # left, top, right, bottom and arch of every part, and four numbers in 0 to 1
    fields: Mapping[str, Array]  # noise over the flat canvas, about -1 to 1
    side: int  # of the canvas, in pixels

    @property
    def size(self) -> float:
        """Side of a pixel."""
        return 1 / self.side

    @cached_property
    def x(self) -> Array:
        return ((self.place % self.side + 0.5) / self.side).astype(np.float32)

    @cached_property
    def y(self) -> Array:
        return ((self.place // self.side + 0.5) / self.side).astype(np.float32)

    def trait(self, row: int) -> Array:
        """Give every pixel what its part has."""
        values: Array = self.traits[row]
        return np.take(values, self.part)

    def chance(self, which: int) -> Array:
        return self.trait(5 + which)

    def noise(self, field: str) -> Array:
        return np.take(self.fields[field], self.place)

    @cached_property
    def width(self) -> Array:
        return self.trait(2) - self.trait(0)

    @cached_property
    def height(self) -> Array:
        return self.trait(3) - self.trait(1)

    @cached_property
    def u(self) -> Array:
        """From 0 to 1 across the part."""
        return np.clip((self.x - self.trait(0)) / self.width, 0, 1)

    @cached_property
    def v(self) -> Array:
        """From 0 to 1 down the part."""
        return np.clip((self.y - self.trait(1)) / self.height, 0, 1)

    @cached_property
    def edge(self) -> Array:
        """Distance to the outline of the part."""
        arch = self.trait(4)
        head = np.maximum(1 - self.v / np.maximum(arch, 1e-6), 0)
        from_side = (1 - np.sqrt((2 * self.u - 1) ** 2 + head**2)) * self.width / 2
        from_top = np.where(arch > 0, 1, self.v * self.height)
        distance: Array = np.minimum.reduce([from_side, from_top, (1 - self.v) * self.height])
        return distance


class Surface(NamedTuple):
    """Colour (the square root of light), relief beyond the look's own, gloss (1 shines by itself), where it covers."""

    colour: Array
    relief: Array | float = 0.0
    gloss: Array | float = 0.0
    covers: Array | slice = slice(None)


_AGED = rgb((1.0, 1.12, 1.25))  # what darkens a wall also makes it warmer


def _joints(coordinate: Array, count: int) -> Array:
    """Return the distance to the nearest of evenly spaced joints, as a share of their spacing."""
    return abs(coordinate * count - np.round(coordinate * count))


def _masonry(p: Pixels, base: Array, course: float, ratio: float, spread: float) -> Surface:
    course = max(course, 3 * p.size)
    height, row = np.modf(p.y / course)
    width, column = np.modf(p.x / (course * ratio) + 0.5 * (row % 2))
    shade = np.sin(row * 12.9898 + column * 78.233) * 437.585 % 1 - 0.5
    thickness = max(0.12, p.size / course)
    joint = (height < thickness) | (width < thickness / ratio)
    colour = base * (1 + (spread * shade + 0.05 * p.noise("clouds") + 0.02 * p.noise("grain")) * _AGED)
    return Surface(np.where(joint, 0.7 * base + 0.12, colour), -0.0012 * joint)


def _plaster(p: Pixels, base: Array) -> Surface:
    age = 0.02 * p.noise("grain") + 0.05 * p.noise("clouds") + 0.02 * p.noise("blotches")
    return Surface(base * (1 + age * _AGED))


def _wall(p: Pixels, style: Style) -> Surface:
    if style.masonry == "brick":
        return _masonry(p, style.wall, 0.013, 2.6, 0.35)
    if style.masonry == "stone":
        return _masonry(p, style.wall, 0.04, 2.1, 0.12)
    return _plaster(p, style.wall)


def _ground(p: Pixels, style: Style) -> Surface:
    return _masonry(p, style.ground, 0.035, 3.0, 0.06) if style.rusticated else _plaster(p, style.ground)


def _sky(p: Pixels, style: Style) -> Surface:
    zenith, horizon = rgb(style.weather.zenith), rgb(style.weather.horizon)
    air = zenith + (horizon - zenith) * np.minimum(2.5 * p.y, 1)
    cover = style.weather.clouds * (1.4 * p.noise("clouds") + 0.4 * p.noise("blotches") + 0.2)
    return Surface(np.sqrt(air + (np.minimum(1.25 * horizon, 1) - air) * cover.clip(0, 0.9)), gloss=1.0)


def _street(p: Pixels, style: Style) -> Surface:
    kerb = abs(p.v - 0.4) < 0.05
    grey = np.where(p.v < 0.4, 0.56, 0.36) + 0.03 * p.noise("grain") + 0.05 * p.noise("clouds") - 0.12 * kerb
    return Surface((grey - 0.15 * style.weather.rain) * rgb((1.0, 0.98, 0.95)), gloss=0.4 * style.weather.rain)


def _glass(p: Pixels, style: Style) -> Surface:
    """Paint a frame and its bars, then behind them the sky in the glass, curtains, and a room, dark or lit."""
    bar = max(0.0045, 0.9 * p.size)
    frame = (p.edge < 1.6 * bar) | (_joints(p.u, style.panes) * p.width / style.panes < 0.6 * bar)
    frame |= abs(p.v - style.transom) * p.height < 0.6 * bar
    curtain = (abs(p.u - 0.5) > 0.5 - 0.45 * p.chance(0) ** 2) | (p.v < 1.4 * p.chance(1) - 0.8)
    cloth = (0.62 + 0.25 * p.chance(2) + 0.06 * np.sin(700 * p.x)) * rgb((1.0, 0.97, 0.9))
    room = np.where(curtain, cloth, 0.1 + 0.12 * p.chance(3))
    lamp = p.chance(3) < style.weather.lamps
    room = np.where(lamp, (0.5 + 0.5 * room) * rgb((1.15, 0.9, 0.5)), room * style.weather.daylight)
    high = 1.1 - p.v + 0.45 * p.noise("clouds") + 0.2 * p.noise("blotches") + 1.3 * (p.chance(2) - 0.6)
    high = high.clip(0, 1)
    mirrored = 0.28 * style.weather.daylight * (1 - high) + 0.92 * np.sqrt(rgb(style.weather.horizon)) * high
    glass = room + (mirrored - room) * (style.reflection * (0.25 + 0.7 * high) * (1 - 0.6 * lamp))
    return Surface(np.where(frame, style.frame, glass), 0.004 * frame, 0.75 * ~frame)


def _shop(p: Pixels, style: Style) -> Surface:
    """Paint a sign with its letters above a window with its goods."""
    sign = p.v < 0.2
    bar = max(0.006, p.size)
    frame = (p.edge < bar) | (_joints(p.u, 2) * p.width / 2 < 0.5 * bar) | (p.v > 0.86)
    goods = np.where(p.v > 0.5, (0.5 * p.noise("blotches") + 0.07 * p.noise("grain")).clip(0, 0.7), 0.25 * p.chance(0))
    shine = 0.5 * style.reflection * (0.7 + 0.6 * p.noise("clouds") - p.v).clip(0, 1)
    glass = (0.12 + goods) * rgb((1.2, 1.0, 0.75)) + shine * np.sqrt(rgb(style.weather.horizon))
    letters = (abs(p.v - 0.1) < 0.045) & (abs(p.u - 0.5) < 0.32) & (p.noise("streaks") > 0)
    board = np.where(letters, 0.9, style.accent)
    colour = np.where(sign, board, np.where(frame, style.door, glass))
    return Surface(colour, 0.024 * sign + 0.003 * frame, 0.75 * ~(sign | frame))


def _door(p: Pixels, style: Style) -> Surface:
    leaf = _joints(p.u, 2)
    light = (abs(p.v - 0.15) < 0.1) & (p.edge > 0.008)
    panel = (leaf > 0.14) & (_joints(p.v, 3) > 0.16) & ~light
    wood = style.door * (1 + 0.12 * p.noise("streaks") - 0.3 * (leaf < 0.03) - 0.12 * panel)
    return Surface(np.where(light, 0.2 + 0.3 * style.reflection, wood), -0.003 * panel, 0.7 * light)


def _railing(p: Pixels, style: Style) -> Surface:
    slab = p.v > 0.84
    rail = slab | (p.v < 0.12)
    if not style.iron:
        return Surface(style.trim * (0.94 + 0.03 * p.noise("grain")), 0.006 * rail)
    covers = rail | (p.x / max(0.012, 3 * p.size) % 1 < 0.36) | (p.edge < 1.2 * p.size)
    return Surface(np.where(slab, style.trim, 0.14)[:, covers], 0.006 * slab[covers], covers=covers)


def _blind(p: Pixels, style: Style) -> Surface:
    rail = p.edge < 0.005
    slat = 0.75 + 0.3 * (p.y / max(0.009, 3 * p.size) % 1)
    return Surface(style.shutter * (np.where(rail, 1, slat) + 0.04 * p.noise("grain")), 0.002 * rail)


def _trim(p: Pixels, style: Style, relief: Array) -> Surface:
    return _plaster(p, style.trim)._replace(relief=relief)


def _sill(p: Pixels, style: Style) -> Surface:
    return _trim(p, style, -0.004 * (p.v > 0.6))


def _cornice(p: Pixels, style: Style) -> Surface:
    return _trim(p, style, 0.007 * (p.v < 0.35) + 0.003 * (p.edge < 0.006))


def _molding(p: Pixels, style: Style) -> Surface:
    dentils = (abs(p.v - 0.7) < 0.15) & (p.x / max(0.018, 4 * p.size) % 1 < 0.5) & (p.height > 0.025)
    return _trim(p, style, 0.009 * (p.v < 0.3) + 0.006 * (p.v < 0.55) + 0.006 * dentils)


def _deco(p: Pixels, style: Style) -> Surface:
    x, y = (p.u - 0.5) * p.width, (p.v - 0.5) * p.height
    carving = np.cos(np.hypot(x, y) * 450 + 2 * np.sin(6 * np.arctan2(y, x))) * (p.edge > 0.008)
    return _trim(p, style, 0.002 * carving + 0.003 * (p.edge < 0.006))


def _pillar(p: Pixels, style: Style) -> Surface:
    end = np.minimum(p.v, 1 - p.v) * p.height < 0.018
    return _trim(p, style, np.where(end, 0.012, 0.014 * np.sqrt(1 - (2 * p.u - 1) ** 2) - 0.004))


class Look(NamedTuple):
    """A class of the palette, how far it stands out of the wall (share of the canvas), and how it is painted."""

    label: str
    relief: float
    paint: Callable[[Pixels, Style], Surface]


LOOKS = {
    "sky": Look("background", 0.0, _sky),
    "street": Look("background", 0.0, _street),
    "neighbour": Look("background", -0.01, lambda p, style: _plaster(p, style.neighbour)),
    "wall": Look("facade", 0.0, _wall),
    "ground": Look("facade", 0.002, _ground),
    "roof": Look("facade", 0.0, lambda p, style: _masonry(p, style.roof, 0.012, 1.3, 0.3)),
    "chimney": Look("facade", 0.0, lambda p, style: _masonry(p, 0.9 * style.roof, 0.01, 2.6, 0.25)),
    "window": Look("window", -0.014, _glass),
    "door": Look("door", -0.02, _door),
    "cornice": Look("cornice", 0.01, _cornice),
    "sill": Look("sill", 0.014, _sill),
    "balcony": Look("balcony", 0.028, _railing),
    "blind": Look("blind", 0.001, _blind),
    "deco": Look("deco", 0.004, _deco),
    "molding": Look("molding", 0.01, _molding),
    "pillar": Look("pillar", 0.008, _pillar),
    "shop": Look("shop", -0.016, _shop),
}
"""Every look by its name."""
