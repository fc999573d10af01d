"""The api's sentences, and whose language they are said in: the request's Accept-Language, else the signed-in user's."""

from pathlib import Path

from starlette.requests import Request

from core.words import LOCALES, Words

WORDS = Words(Path(__file__).parent / "locales")
DEFAULT = LOCALES[0]
MAX_HEADER = 200
"""Characters of Accept-Language that are looked at."""


def preferred(header: str) -> str | None:
    """The language of ours that an Accept-Language header likes best (RFC 9110, 12.5.4); None when it names none of them.

    >>> preferred("de, zh-Hans;q=0.9, en;q=0.8")
    'zh'
    """
    best, best_weight = None, 0.0
    for item in header[:MAX_HEADER].split(","):
        tag, _, parameters = item.partition(";")
        language = tag.strip().replace("_", "-").partition("-")[0].lower()
        weight = _weight(parameters)
        if language in LOCALES and weight > best_weight:
            best, best_weight = language, weight
    return best


def language_of(request: Request) -> str:
    """The language to answer in. `?lang=` wins, as a link may carry it; a page of somebody's own has set `state.chosen`, the language that
    they chose; a route that knows its caller has set `state.locale`."""
    asked = request.query_params.get("lang", "")
    known, chosen = getattr(request.state, "locale", None), getattr(request.state, "chosen", None)
    return preferred(asked) or chosen or preferred(request.headers.get("Accept-Language", "")) or known or DEFAULT


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
