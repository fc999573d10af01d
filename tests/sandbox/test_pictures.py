"""The stand-in's pictures: the same for the same words, different otherwise, readable, quick."""

import time
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageFont, ImageStat

from sandbox import pictures


def opened(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as picture:
        return picture.convert("RGB")


def mean(data: bytes) -> list[float]:
    return ImageStat.Stat(opened(data)).mean


def test_the_same_words_and_seed_make_the_same_bytes() -> None:
    first = pictures.draw("a cat watching the sunset", 7, 320, 200)
    assert first == pictures.draw("a cat watching the sunset", 7, 320, 200)
    assert first != pictures.draw("a cat watching the sunset", 8, 320, 200)
    assert first != pictures.draw("a cat watching the sunrise", 7, 320, 200)
    assert first != pictures.draw("a cat watching the sunset", 7, 320, 200, "pixel-art")


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (1344, 768), (640, 1536), (17, 300)])
def test_it_has_the_size_that_was_asked(size: tuple[int, int]) -> None:
    data = pictures.draw("a city at night", 1, *size)
    assert opened(data).size == pictures.size(data) == size


@pytest.mark.parametrize("size", [(15, 64), (64, 8193), (0, 0), (-1, 64)])
def test_an_absurd_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        pictures.draw("a", 1, *size)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        " ",
        "a\nb\tc",
        "🎉" * 50,
        "\ud800 lone",
        "word " * 2_000,
        "猫" * 9_000,
        "مرحبا",
        "<b>&amp;",
        "neon city ocean forest snow cat spring autumn dragon",
    ],
)
def test_any_words_will_do(prompt: str) -> None:
    assert opened(pictures.draw(prompt, 3, 256, 128)).size == (256, 128)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pair", [("a neon street", "a snowy mountain"), ("霓虹灯", "雪山")])
def test_the_words_choose_the_colours(pair: tuple[str, str], seed: int) -> None:
    dark, light = (mean(pictures.draw(prompt, seed, 128, 128)) for prompt in pair)
    assert sum(dark) < 250 < 450 < sum(light)


def test_two_languages_say_the_same() -> None:
    english, chinese = mean(pictures.draw("sunset", 1, 128, 128)), mean(pictures.draw("日落", 1, 128, 128))
    assert max(abs(one - other) for one, other in zip(english, chinese, strict=True)) < 60


def bright_pixels(prompt: str) -> int:
    """How much of the caption's place is nearly white; the hills of a night are not."""
    corner = opened(pictures.draw(prompt, 1, 512, 512)).crop((10, 470, 502, 502)).convert("L")
    return sum(corner.histogram()[200:])


@pytest.mark.parametrize("prompt", ["hills by night", "夜晚的山，一轮明月"])
def test_the_caption_is_there(prompt: str) -> None:
    assert bright_pixels(prompt) > 40


@pytest.mark.parametrize("prompt", ["夜 פארק ביער", "夜🎉🎉🎉"])
def test_the_caption_is_left_out_where_the_font_lacks_the_words(prompt: str) -> None:
    assert bright_pixels(prompt) == 0


def test_the_font_has_what_it_is_said_to_have() -> None:
    font = ImageFont.truetype(pictures.FONT, 24, layout_engine=ImageFont.Layout.BASIC)
    missing = bytes(font.getmask("\uffff"))
    level_1 = [bytes((row, cell)).decode("gb2312", "ignore") for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF)]
    said = [char for char in [*map(chr, range(0x21, 0x17F)), *pictures.PUNCTUATION, *level_1] if char and pictures.drawable(char)]
    assert len(said) > 3_900
    assert [char for char in said if bytes(font.getmask(char)) == missing and char not in "\xad"] == []
    assert not pictures.drawable("龘")
    assert not pictures.drawable("🎉")


def test_the_font_comes_with_its_licence() -> None:
    licence = (Path(pictures.FONT).parent / "OFL.txt").read_text()
    assert "SIL OPEN FONT LICENSE Version 1.1" in licence
    assert "Copyright 2014-2021 Adobe" in licence


def test_a_blurred_picture_shows_nothing() -> None:
    data = pictures.draw("neon city", 1, 512, 512)
    blurred = pictures.blur(data)
    difference = ImageStat.Stat(ImageChops.difference(opened(data), opened(blurred))).mean
    assert opened(blurred).size == (512, 512)
    assert sum(difference) > 20
    steps = [abs(a - b) for a, b in zip(*(opened(blurred).convert("L").crop((x, 0, x + 511, 512)).tobytes() for x in (0, 1)), strict=True)]
    assert max(steps) < 24


@pytest.mark.parametrize(("kind", "form"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_upscaling_and_kinds(kind: str, form: str) -> None:
    data = pictures.upscale(pictures.draw("a cat", 1, 100, 60), 4, kind)
    with Image.open(BytesIO(data)) as picture:
        assert (picture.size, picture.format) == ((400, 240), form)


def test_blending() -> None:
    one, other = pictures.draw("snow", 1, 64, 64), pictures.draw("neon", 1, 96, 64)
    assert opened(pictures.blend(one, other, 1.0)).tobytes() == opened(other).tobytes()
    half = mean(pictures.blend(one, other, 0.5))
    assert all(low < value < high for low, value, high in zip(mean(other), half, mean(one), strict=True))


def test_it_is_quick() -> None:
    pictures.draw("warm up", 1, 1024, 1024)
    times = []
    for seed in range(7):
        began = time.thread_time()
        pictures.draw("a misty pine forest", seed, 1024, 1024)
        times.append(time.thread_time() - began)
    assert min(times) < 0.15  # 0.04 on an idle core
