"""Landscapes in layers: what the words of a prompt and a hash make of hills, water, houses, a cat or a fox.

The words choose the colours (sunset, ocean, forest, neon, 雪 …) and what stands in the picture; everything else comes from the dice.
"""

import math
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageChops, ImageColor, ImageDraw

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """`sky` from top to horizon, `far` and `near` are the hills' colours, `light` that of sun, moon and windows."""

    sky: tuple[str, ...]
    far: str
    near: str
    light: str
    dark: bool = False


PALETTES = {  # the first one that the words name is taken
    "sunset": Palette(("#2b2158", "#8e3b72", "#e8685a", "#f9b26b", "#fde3a7"), "#b4576a", "#241a3a", "#fff1c9"),
    "neon": Palette(("#0b0620", "#2a0f57", "#7a1e8c", "#ff4f9a"), "#5a1e86", "#0a0418", "#ffd166", dark=True),
    "snow": Palette(("#8fb3d9", "#bcd4ea", "#e2edf6", "#f7fafc"), "#c9d9e8", "#5d7b98", "#ffffff"),
    "autumn": Palette(("#5b8aa6", "#a9c0b8", "#f3dfb5", "#f8e8c8"), "#d9a05b", "#5a2617", "#fff4d2"),
    "spring": Palette(("#86bfe0", "#bfe0ea", "#fbe4ea", "#fdf3ef"), "#e9b7c8", "#5d7f55", "#fffdf2"),
    "desert": Palette(("#3f88b8", "#8fc1d4", "#f0dcb4", "#f8e7c2"), "#e3b778", "#8c4a2b", "#fffaf0"),
    "ocean": Palette(("#1c5d99", "#4a9cc9", "#9fd6e3", "#e3f4ee"), "#6fb3c4", "#0d3b54", "#fffbe6"),
    "forest": Palette(("#7fb7b0", "#b9dcc4", "#eef3d2", "#fbf6dc"), "#9cc3a5", "#16382c", "#fff8d6"),
    "night": Palette(("#050a1f", "#0f1f47", "#2a3f74", "#5b6ea3"), "#34497e", "#060b1c", "#f6f1d5", dark=True),
    "dusk": Palette(("#16324f", "#3d5a80", "#98a8c9", "#ee9b82", "#f7d6b4"), "#7b7fa3", "#1d2238", "#ffe9bf"),
}
FREE = ("sunset", "ocean", "forest", "night", "desert", "dusk", "autumn", "spring")
"""What the hash chooses from when no word says."""

WORDS = {
    "sunset": "sunset sunrise dawn evening golden 日落 日出 夕阳 晚霞 黄昏 朝霞",
    "ocean": "ocean sea beach wave island lake river ship 海 湖 河 浪 岛 江",
    "forest": "forest tree jungle wood pine bamboo 森 林 树 竹",
    "neon": "neon cyber cyberpunk synthwave vaporwave future robot 霓虹 赛博 未来 机器人",
    "night": "night star moon space galaxy dream dark 夜 星 月 宇宙 银河 梦",
    "snow": "snow winter ice frost polar christmas 雪 冬 冰",
    "desert": "desert sand dune camel mars 沙漠 沙 火星",
    "spring": "spring flower cherry blossom garden rose 春 花 樱 园",
    "autumn": "autumn fall maple harvest 秋 枫",
    "city": "city town street skyline tower building tokyo shanghai 城 街 楼 都市 上海 北京",
    "cat": "cat kitten kitty dog 猫 喵 狗",
    "fox": "fox 狐",
    "mountain": "mountain hill peak volcano alps 山 峰",
    "bird": "bird crane eagle seagull dragon 鸟 鹤 鹰 龙",
}


def paint(prompt: str, width: int, height: int, dice: Random, neon: bool = False) -> Image.Image:
    """A picture of `width` x `height` pixels; its edges are hard, so it is best halved."""
    themes = _themes(prompt) | ({"neon"} if neon else set())
    name = next((theme for theme in PALETTES if theme in themes), None) or dice.choice(FREE)
    return _Scene(width, height, PALETTES[name], themes | {name}, dice).paint()


def _themes(prompt: str) -> set[str]:
    """What the words name: a word or, from four letters on, its beginning ("snowy"); Chinese anywhere."""
    text = prompt.lower()
    words = "".join(char if char.isalnum() else " " for char in text).split()

    def named(name: str) -> bool:
        if not name.isascii():
            return name in text
        return any(word.startswith(name) if len(name) > 3 else word.removesuffix("s") == name for word in words)

    return {theme for theme, names in WORDS.items() if any(map(named, names.split()))}


def _mix(one: RGB, other: RGB, share: float) -> RGB:
    return (
        round(one[0] + (other[0] - one[0]) * share),
        round(one[1] + (other[1] - one[1]) * share),
        round(one[2] + (other[2] - one[2]) * share),
    )


def _rgb(text: str) -> RGB:
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


class _Scene:
    """One picture in the making, at twice its size. `u` is a hundredth of the shorter side, so that shapes keep their size in any shape."""

    def __init__(self, width: int, height: int, palette: Palette, themes: set[str], dice: Random) -> None:
        self.w, self.h, self.u = width, height, min(width, height) / 100
        self.palette, self.themes, self.dice = palette, themes, dice
        self.far, self.near, self.light = _rgb(palette.far), _rgb(palette.near), _rgb(palette.light)
        self.horizon = height * dice.uniform(0.56, 0.66)
        self.image = self._sky()
        self.pen = ImageDraw.Draw(self.image)

    def paint(self) -> Image.Image:
        """Everything from back to front."""
        if self.palette.dark:
            self._stars()
        self._sun()
        if not self.palette.dark or "bird" in self.themes:
            self._birds()
        if "neon" in self.themes:
            self._ridge(self.horizon, 4, 0.2)
            self._grid()
            if "city" in self.themes:
                self._houses(self.horizon, 0.5, self.horizon)
        elif "ocean" in self.themes:
            self._ridge(self.horizon, 3, 0.1)
            self._sea()
        else:
            self._hills()
        if "ocean" in self.themes and "city" in self.themes:
            self._houses(self.horizon + self.u, 0.6, self.horizon + self.u)
        if {"cat", "fox"} & self.themes:
            self._cat(_mix(_rgb("#c2571f"), self.near, 0.2) if "fox" in self.themes else _mix(self.near, (0, 0, 0), 0.45))
        if {"snow", "spring", "autumn"} & self.themes:
            self._flakes()
        return self.image

    def _sky(self) -> Image.Image:
        colours = [_rgb(colour) for colour in self.palette.sky]
        column = Image.new("RGB", (1, len(colours)))
        column.putdata(colours)
        column = column.resize((1, int(self.horizon)), Image.Resampling.BICUBIC)
        sky = Image.new("RGB", (self.w, self.h), colours[-1])
        sky.paste(column.resize((self.w, int(self.horizon)), Image.Resampling.NEAREST))
        return sky

    def _stars(self) -> None:
        for _ in range(140):
            x, y, r = self.dice.uniform(0, self.w), self.dice.uniform(0, self.horizon), self.u * self.dice.uniform(0.05, 0.22)
            share = self.dice.uniform(0.3, 1.0) * (1 - y / self.horizon)
            self._disc(x, y, r, _mix(_rgb(self.palette.sky[1]), self.light, share))

    def _disc(self, x: float, y: float, r: float, colour: RGB) -> None:
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def _sun(self) -> None:
        x, y = (
            self.w * self.dice.choice((self.dice.uniform(0.2, 0.4), self.dice.uniform(0.6, 0.8))),
            self.horizon * self.dice.uniform(0.42, 0.86),
        )
        r = self.u * self.dice.uniform(7, 11) * (1.5 if "neon" in self.themes else 1)
        side = int(r * 5.4)
        glow = ImageChops.invert(Image.radial_gradient("L")).point(lambda value: max(0, value - 75) // 2)
        self.image.paste(self.light, (int(x - side / 2), int(y - side / 2)), glow.resize((side, side), Image.Resampling.BILINEAR))
        self._disc(x, y, r, self.light)
        self.sun = (x, y, r)
        if "neon" in self.themes:
            for step in range(5):
                top = y + r * (0.1 + 0.19 * step)
                half = math.sqrt(r * r - (top - y) ** 2)
                self.pen.rectangle((x - half, top, x + half, top + r * (0.03 + 0.02 * step)), fill=_rgb(self.palette.sky[2]))
        elif self.palette.dark:
            crater = _mix(self.light, self.far, 0.22)
            for dx, dy, size in ((-0.3, -0.35, 0.2), (0.28, 0.12, 0.27), (-0.2, 0.45, 0.13), (0.35, -0.45, 0.1)):
                self._disc(x + dx * r, y + dy * r, size * r, crater)

    def image_at(self, x: float, y: float) -> RGB:
        """The colour of one pixel; the nearest one for a place outside."""
        pixel = self.image.getpixel((min(max(int(x), 0), self.w - 1), min(max(int(y), 0), self.h - 1)))
        assert isinstance(pixel, tuple)
        return pixel[0], pixel[1], pixel[2]

    def _birds(self) -> None:
        x, y = self.w * self.dice.uniform(0.15, 0.7), self.horizon * self.dice.uniform(0.2, 0.5)
        colour = _mix(self.near, self.image_at(x, y), 0.35)
        for _ in range(self.dice.randint(3, 7)):
            bx, by, r = x + self.u * self.dice.uniform(-12, 14), y + self.u * self.dice.uniform(-6, 6), self.u * self.dice.uniform(1.0, 2.0)
            for side in (-1, 1):
                wing = [
                    (bx, by),
                    (bx + side * r * 0.55, by - r * 0.55),
                    (bx + side * r * 1.2, by - r * 0.25),
                    (bx + side * r * 0.5, by - r * 0.36),
                ]
                self.pen.polygon(wing, fill=colour)

    def _line(self, base: float, height: float, rough: float) -> list[tuple[float, float]]:
        """The outline of a ridge: a few waves on top of each other."""
        waves = [(self.dice.uniform(0.7, 1.6) * 2**k, self.dice.uniform(0, 6.3), height * self.u * rough**k) for k in range(4)]
        scale = 2 * math.pi / max(self.w, self.h)
        step = max(4, self.w // 160)
        return [(x, base - sum(a * math.sin(x * scale * f + p) for f, p, a in waves)) for x in range(0, self.w + step, step)]

    def _ridge(self, base: float, height: float, depth: float, rough: float = 0.5) -> list[tuple[float, float]]:
        line = self._line(base, height, rough)
        self.pen.polygon([*line, (self.w, self.h), (0, self.h)], fill=_mix(self.far, self.near, depth))
        return line

    def _hills(self) -> None:
        layers = 5
        for k in range(layers):
            depth = k / (layers - 1)
            base = self.horizon + (self.h - self.horizon) * (0.02 + 0.72 * depth)
            steep = {"mountain", "snow"} & self.themes and k < 3
            smooth = {"desert"} & self.themes
            line = self._ridge(base, 8.0 if steep else 5.0, depth, 0.62 if steep else 0.3 if smooth else 0.46)
            if {"forest", "snow", "autumn"} & self.themes and k >= 1:
                self._trees(line, depth)
            elif "city" in self.themes and k in (1, 3):
                self._houses(base + self.u * 6, depth, self.h)
            elif "spring" in self.themes and k >= 3:
                self._trees(line, depth, round_tops=True)

    def _trees(self, line: list[tuple[float, float]], depth: float, round_tops: bool = False) -> None:
        colour = _mix(self.far, self.near, min(1.0, depth + 0.06))
        round_tops = round_tops or "autumn" in self.themes
        for x, y in line:
            if self.dice.random() < (0.66 if round_tops else 0.36):
                continue
            size = self.u * (1.5 + 6 * depth) * self.dice.uniform(0.6, 1.25)
            if round_tops:
                crown = _mix(_rgb("#e58aa8" if "spring" in self.themes else "#c4542a"), colour, self.dice.uniform(0.0, 0.55))
                self.pen.rectangle((x - size * 0.06, y - size, x + size * 0.06, y + size * 0.3), fill=self.near)
                self._disc(x, y - size, size * 0.6, crown)
                continue
            right = [(0.3, 1.05), (0.15, 1.05), (0.44, 0.55), (0.2, 0.55), (0.58, -0.2)]
            left = [(-dx, dy) for dx, dy in reversed(right)]
            self.pen.polygon([(x + size * dx, y - size * dy) for dx, dy in [(0.0, 1.9), *right, *left]], fill=colour)

    def _houses(self, base: float, depth: float, bottom: float) -> None:
        wall = _mix(self.far, self.near, min(1.0, depth + 0.1))
        lit = _mix(wall, self.light, 0.75 if self.palette.dark else 0.4)
        x = -self.u * 2
        while x < self.w:
            width, height = self.u * self.dice.uniform(4, 9), self.u * self.dice.uniform(8, 27) * (0.7 + 0.5 * depth)
            self.pen.rectangle((x, base - height, x + width, bottom), fill=wall)
            if self.dice.random() < 0.25:
                self.pen.rectangle((x + width * 0.47, base - height - self.u * 4, x + width * 0.53, base - height), fill=wall)
            cell = self.u * 1.5
            for row in range(1, int(height / cell)):
                for column in range(int(width / cell)):
                    if self.dice.random() < 0.42:
                        wx, wy = x + cell * (column + 0.45), base - height + cell * row
                        self.pen.rectangle((wx, wy, wx + cell * 0.45, wy + cell * 0.5), fill=lit)
            x += width * self.dice.uniform(0.95, 1.25)

    def _sea(self) -> None:
        top = int(self.horizon + self.u)
        column = Image.new("RGB", (1, 2))
        column.putdata([_mix(self.far, self.light, 0.25), self.near])
        water = column.resize((1, self.h - top), Image.Resampling.BILINEAR).resize((self.w, self.h - top), Image.Resampling.NEAREST)
        self.image.paste(water, (0, top))
        for _ in range(150):
            share = self.dice.random() ** 1.5
            y, length = top + share * (self.h - top), self.u * (1.5 + 11 * share) * self.dice.uniform(0.5, 1.5)
            shining = self.dice.random() < 0.5
            x = self.dice.gauss(self.sun[0], self.u * (3 + 16 * share)) if shining else self.dice.uniform(0, self.w)
            colour = _mix(self.image_at(0, y), self.light, (0.75 if shining else 0.16) * (1 - 0.55 * share))
            self.pen.rounded_rectangle((x - length, y, x + length, y + self.u * (0.18 + 0.5 * share)), self.u * 0.2, fill=colour)

    def _grid(self) -> None:
        top, bottom = self.horizon, float(self.h)
        self.pen.rectangle((0, top, self.w, bottom), fill=self.near)
        line, width = _mix(_rgb("#21d4fd"), _rgb(self.palette.sky[-1]), self.dice.random()), max(2, int(self.u * 0.28))
        for k in range(-24, 25):
            self.pen.line((self.w / 2 + k * self.u * 4, top, self.w / 2 + k * self.u * 26, bottom), fill=line, width=width)
        for k in range(12):
            y = top + (bottom - top) * (k / 11) ** 2.2
            self.pen.line((0, y, self.w, y), fill=line, width=width)

    def _cat(self, ink: RGB) -> None:
        """A cat that sits and looks; or a fox, which has a white breast and tip of the tail."""
        fox = "fox" in self.themes
        s, side = self.u * self.dice.uniform(11, 14), self.dice.choice((-1, 1))
        x, y = self.w * (0.5 - side * self.dice.uniform(0.16, 0.26)), self.h * 0.9
        self.pen.ellipse((x - self.w, y - s * 0.1, x + self.w, y + self.h * 0.6), fill=_mix(self.near, (0, 0, 0), 0.2))
        if fox:
            tx = x - side * s * 0.8
            self.pen.ellipse((tx - s * 0.3, y - s * 0.95, tx + s * 0.3, y + s * 0.1), fill=ink)
            self.pen.pieslice((tx - s * 0.3, y - s * 0.95, tx + s * 0.3, y + s * 0.1), 215, 325, fill=(250, 244, 236))
        self.pen.ellipse((x - s * 0.52, y - s * 1.25, x + s * 0.52, y + s * 0.12), fill=ink)
        if fox:
            self.pen.ellipse(
                (x + side * s * 0.16 - s * 0.2, y - s * 1.05, x + side * s * 0.16 + s * 0.2, y - s * 0.3), fill=(250, 244, 236)
            )
        hx, hy, r = x + side * s * 0.16, y - s * 1.35, s * 0.42
        self._disc(hx, hy, r, ink)
        for ear in (-1, 1):
            self.pen.polygon(
                [(hx + ear * r * 0.95, hy - r * 1.45), (hx + ear * r * 0.98, hy), (hx + ear * r * 0.1, hy - r * 0.8)], fill=ink
            )
            self.pen.ellipse(
                (hx + ear * r * 0.42 - r * 0.14, hy - r * 0.22, hx + ear * r * 0.42 + r * 0.14, hy + r * 0.12), fill=self.light
            )
        if fox:
            self.pen.polygon([(hx - r * 0.5, hy + r * 0.55), (hx + r * 0.5, hy + r * 0.55), (hx, hy + r * 1.25)], fill=(250, 244, 236))
            self._disc(hx, hy + r * 1.12, r * 0.14, (30, 22, 20))
            return
        tail = (x - side * s * 0.75 - s * 0.5, y - s * 0.9, x - side * s * 0.75 + s * 0.5, y + s * 0.1)
        self.pen.arc(tail, 20 if side > 0 else 60, 250 if side < 0 else 210, fill=ink, width=int(s * 0.16))

    def _flakes(self) -> None:
        colours = {"snow": ("#ffffff",), "spring": ("#f7b6cb", "#fbd5e0"), "autumn": ("#e07a3a", "#f0b45a")}
        name = next(theme for theme in colours if theme in self.themes)
        for _ in range(90):
            x, y, r = self.dice.uniform(0, self.w), self.dice.uniform(0, self.h), self.u * self.dice.uniform(0.15, 0.5)
            self.pen.ellipse((x - r * (1 if name == "snow" else 1.7), y - r, x + r, y + r), fill=_rgb(self.dice.choice(colours[name])))
