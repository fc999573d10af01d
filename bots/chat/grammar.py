"""One grammar for /imagine: flags inside the prompt, or options. Both end in the same Wish."""

import re
import shlex
from collections.abc import Mapping

from core.catalog import BadParameter
from core.generations.models import Parameters, Wish
from core.presets.rules import PREFIX

FLAGS = ("ar", "model", "seed", "no", "style", "quality", "preset", "pay")
ALIASES = {"aspect": "ar", "ratio": "ar", "m": "model", "negative": "no"}


_MARKS = "\u200e\u200f\u061c"
"""What keyboards of right-to-left scripts put beside a dash; it is no part of a flag."""
_UNMARKED = str.maketrans(dict.fromkeys(_MARKS, ""))
_NAMES = "|".join(sorted({*FLAGS, *ALIASES}, key=len, reverse=True))
_DASH = r"(?:—{1,2}|–{1,2}|\uff0d{2})"
_FLAG = re.compile(rf"(?:^|(?<=\s))[{_MARKS}]*(?:--[{_MARKS}]*(?=[A-Za-z])|{_DASH}[{_MARKS}]*(?=(?:{_NAMES})(?![A-Za-z])))", re.I)
"""Where a flag begins: two hyphens before a letter, or the dash that a phone makes of them before a flag's name. Any other is prose."""


def asked_of(options: Mapping[str, str], argument: str) -> dict[str, str]:
    """What was asked for: options, or flags in the argument. Raises BadParameter like `parse`.

    Flags that are typed into the option `prompt` all the same count too, as nobody wants a picture of them; an option wins over its flag.
    """
    if not options:
        return parse(argument)
    prompt = options.get("prompt", "")
    return (parse(prompt) if _FLAG.search(prompt) else {"prompt": prompt}) | {n: v for n, v in options.items() if n != "prompt"}


def parse(argument: str) -> dict[str, str]:
    """`a red fox --ar 16:9 --no "text"` as options with the prompt. Raises BadParameter for an unknown flag, or one without its value.

    Phones make a long dash of two hyphens: before the name of a flag it counts as them. `--preset name place="the moon"` gives a preset's
    fields as well.
    """
    first = _FLAG.search(argument)
    start = first.start() if first else len(argument)
    options = {"prompt": argument[:start].strip()}
    rest = _FLAG.sub("--", argument[start:]).replace("“", '"').replace("”", '"')
    try:
        words = shlex.split(rest)
    except ValueError:
        raise BadParameter(flag="no", value=rest[:40], allowed=['--no "…"'], model="") from None
    flag: str | None = None
    for word in words:
        if _FLAG.match(word):
            if flag is not None and not options[flag]:
                raise BadParameter(flag=flag, value="", allowed=[f"--{flag} …"], model="")
            name, _, value = word[2:].translate(_UNMARKED).partition("=")
            flag = ALIASES.get(name.lower(), name.lower())
            if flag not in FLAGS:
                raise BadParameter(flag=name[:20], value="", allowed=[f"--{each}" for each in FLAGS], model="")
            options[flag] = value
        elif flag == "preset" and "=" in word:
            options |= field_of(word)
        elif flag is not None:
            options[flag] = f"{options[flag]} {word if flag == 'no' else word.translate(_UNMARKED)}".strip()
    if flag is not None and not options[flag]:
        raise BadParameter(flag=flag, value="", allowed=[f"--{flag} …"], model="")
    return options


def fields_in(text: str) -> dict[str, str]:
    """`place="the moon" light=dim` as options, for where fields are written apart. Raises BadParameter."""
    try:
        words = shlex.split(text.replace("“", '"').replace("”", '"'))
    except ValueError:
        words = [""]
    found: dict[str, str] = {}
    for word in words:
        if "=" not in word:
            raise BadParameter(flag="fields", value=text[:40], allowed=['name="…"'], model="")
        found |= field_of(word)
    return found


def field_of(word: str) -> dict[str, str]:
    """`place=the moon` as an option of a preset's field."""
    name, _, value = word.partition("=")
    return {f"{PREFIX}{name.strip().lower()[:40]}": value}


EDIT_STRENGTH = 60
"""How far an edit of a picture that was sent along may move away from it, in percent."""


def wish_of(options: Mapping[str, str], *, edits: bool = False) -> Wish:
    """Options as a Wish, still to be checked against the catalog. Raises BadParameter for a seed that is no number."""
    seed = options.get("seed", "").strip()
    if seed and not (seed.isascii() and seed.isdigit() and len(seed) <= 12):
        raise BadParameter(flag="seed", value=seed[:20], allowed=["0–4294967294"], model=options.get("model", ""))
    parameters = Parameters(
        ratio=options.get("ar") or "1:1",
        seed=int(seed) if seed else None,
        negative=options.get("no", ""),
        style=options.get("style") or None,
        quality=options.get("quality") or None,
        strength=EDIT_STRENGTH if edits else None,
    )
    return Wish(options.get("prompt", ""), options.get("model") or None, "edit" if edits else "generate", parameters)
