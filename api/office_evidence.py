"""What is known of a disputed picture, as admins read it in the back office: checks with marks, how it was made, and what happened when."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from starlette_admin.fields import BaseField
from starlette_admin.i18n import get_locale

from api.language import WORDS
from core.db import SECOND
from core.disputes.models import Dispute
from core.disputes.rules import checks
from core.generations.models import Generation, Parameters
from core.words import Amount, Text

MARKS = {True: ("✓", "text-green"), False: ("✗", "text-red"), None: ("?", "text-secondary")}
"""How a check is marked, and the style sheet's name of its color."""
PAGE = """{% if data.checks %}<ul class="list-unstyled mb-3">{% for mark, color, words in data.checks %}
<li><strong class="{{ color }} me-2">{{ mark }}</strong>{{ words }}</li>{% endfor %}</ul>
{% else %}<p>{{ office("not_inspected") }}</p>{% endif %}
{% for table in data.tables %}<table class="table table-sm mb-3"><thead><tr>{% for head in table.head %}<th scope="col">{{ head }}</th>
{% endfor %}</tr></thead><tbody>{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table>{% endfor %}"""
"""The template of a field of this kind, with the data that `evidence` makes."""


@dataclass
class Evidence(BaseField):
    """The checks, the tries and the times of a disputed picture."""

    detail_template: str = "office_evidence.html"


def say(code: str, **facts: Any) -> str:
    """A sentence of the back office in the language of whoever reads."""
    return WORDS.plain(Text(f"back_office.{code}", facts), get_locale())


def moment(at: int | None) -> str:
    """A moment (microseconds) as it is read; 0 and None are none."""
    return f"{datetime.fromtimestamp(at / SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC" if at else "—"


def evidence(dispute: Dispute, made: Generation, inspected_at: int | None) -> dict[str, Any]:
    """What PAGE shows: `checks` (mark, color, words), and `tables` of the tries and of the times, each with its `head` and `rows`."""
    found = dispute.evidence or {}
    size = f"{found['width']}x{found['height']}" if "width" in found else "—"
    facts = {
        "varies": found.get("varies", "—"), "size": size, "asked": found.get("ratio") or "—", "id": found.get("copy_of") or "—",
        "problem": found.get("problem", "—"),
    }  # fmt: skip
    words = {True: "yes", False: "no", None: "open"}
    seen = [(*MARKS[good], say(f"check.{name}.{words[good]}", **facts)) for name, good in checks(found)] if found else []
    tries = _table(
        "number resource outcome fault seconds reference", (_try(place, each) for place, each in enumerate(found.get("attempts", ()), 1))
    )
    moments = [
        ("ordered", made.created_at), ("finished", made.finished_at), ("disputed", dispute.created_at), ("inspected", inspected_at),
        ("decided", dispute.decided_at),
    ]  # fmt: skip
    times = _table("step at after", _times([(step, at) for step, at in moments if at]))
    return {"checks": seen, "tables": [each for each in (tries, times) if each["rows"]]}


def parameters(given: Parameters) -> str:
    """What was chosen for a picture, named; nothing that was left open."""
    chosen = [
        say("parameter", name=say(f"parameter.{name}"), value=value) for name, value in asdict(given).items() if value not in (None, "")
    ]
    return " · ".join(chosen) or "—"


def proposal(dispute: Dispute) -> str:
    """The verdict that waits for a second admin."""
    if dispute.proposed is None:
        return "—"
    facts = {"amount": Amount(dispute.proposed_amount or 0), "reason": dispute.proposed_reason or "", "admin": dispute.proposed_by}
    return say("proposed", verdict=say(f"word.{dispute.proposed}"), **facts)


def _table(names: str, rows: Iterable[list[str]]) -> dict[str, Any]:
    return {"head": [say(f"head.{name}") for name in names.split()], "rows": list(rows)}


def _try(place: int, each: dict[str, Any]) -> list[str]:
    outcome, fault = each["outcome"] or "open", each["fault"]
    seconds = say("seconds", n=each["seconds"])
    return [
        str(place), f"#{each['resource']}", say(f"outcome.{outcome}"), say(f"fault.{fault}") if fault else "—", seconds,
        each.get("reference") or "—",
    ]  # fmt: skip


def _times(moments: list[tuple[str, int]]) -> Iterable[list[str]]:
    """Each step with its moment, and how long after the one before it came."""
    before: int | None = None
    for step, at in moments:
        after = "—" if before is None else _lasted(max(0, at - before) // SECOND)
        yield [say(f"step.{step}"), moment(at), after]
        before = at


def _lasted(seconds: int) -> str:
    """A length of time.

    >>> _lasted(59), _lasted(3 * 3600 + 60), _lasted(50 * 3600)
    ('0:00:59', '3:01:00', '50:00:00')
    """
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
