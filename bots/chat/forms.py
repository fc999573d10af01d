"""Forms where a platform has no modals: one question after the other, half-filled in the hints, lost without harm."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bots.chat.types import Button, Event, Form, Place, Reply
from core.hints import Hints
from core.words import Text

SECONDS = 15 * 60
"""How long a half-filled form waits for its next answer."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A form whose last question is answered, and where it began, as that was then: at most SECONDS ago for each answer."""

    action: str
    answers: dict[str, str]
    place: Place


Check = Callable[[Filled, str], Awaitable[Text | None]]
"""What is wrong with the answer of that name, in a form that is filled up to it; None when nothing is."""
KEEP = "="
"""What the button sends that keeps what is there: the value itself may be longer than a button can say."""


def _key(event: Event) -> str:
    """Questions are asked in the private chat, wherever the form began."""
    return f"form:{event.platform}:{event.private_chat}:{event.person.id}"


async def begin(hints: Hints, event: Event, form: Form) -> Reply:
    """Asks the first question."""
    fields = [
        {
            "name": each.name,
            "label": [each.label.code, each.label.facts],
            "default": each.default,
            "most": each.max_length,
            "hint": each.hint.code if each.hint else "",
            "choices": [[value, label.code] for value, label in each.choices],
        }
        for each in form.fields
    ]
    return await _ask(hints, event, {"action": form.action, "fields": fields, "answers": {}, "place": asdict(event.place)})


async def answer(hints: Hints, event: Event, check: Check) -> Reply | Filled | None:
    """Takes an answer, typed or by a button "form <question> <value>"; the next question, or the whole form. What `check` finds wrong
    with it is said, and it is asked for again.

    None when no form is open here, or when the button is below another question than the one that is asked now.
    """
    text = await hints.recall(_key(event))
    if not text:
        return None
    state = json.loads(text)
    asked, given = len(state["answers"]), event.text
    field = state["fields"][asked]
    if event.action is not None:
        number, _, given = event.action.partition(" ")[2].partition(" ")
        if number != str(asked):
            return None
        given = field["default"] if given == KEEP else given
    whole = Filled(state["action"], state["answers"] | {field["name"]: given[: field["most"]]}, place_of(state["place"]))
    if (problem := await check(whole, field["name"])) is not None:
        return await _ask(hints, event, state, problem)
    state["answers"] = whole.answers
    if len(state["answers"]) == len(state["fields"]):
        await hints.remember(_key(event), "", 1)
        return whole
    return await _ask(hints, event, state)


async def last(hints: Hints, event: Event) -> Filled | None:
    """The form that what is said now fills, before its last answer; None where it goes on, or where there is none."""
    text = await hints.recall(_key(event))
    state = json.loads(text) if text else None
    if state is None or len(state["answers"]) + 1 < len(state["fields"]):
        return None
    return Filled(state["action"], state["answers"], place_of(state["place"]))


def place_of(kept: Mapping[str, Any]) -> Place:
    """A place as JSON keeps it."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    return Place(**values)


async def forget(hints: Hints, event: Event) -> bool:
    """Leaves a form; whether there was one."""
    known = bool(await hints.recall(_key(event)))
    await hints.remember(_key(event), "", 1)
    return known


async def _ask(hints: Hints, event: Event, state: dict[str, object], problem: Text | None = None) -> Reply:
    await hints.remember(_key(event), json.dumps(state, ensure_ascii=False), SECONDS)
    fields, answers = state["fields"], state["answers"]
    assert isinstance(fields, list) and isinstance(answers, dict)
    field = fields[len(answers)]
    press = f"form {len(answers)} "
    rows: list[Sequence[Button]] = [
        [Button(Text(code), press + value) for value, code in field["choices"][i : i + 3]] for i in range(0, len(field["choices"]), 3)
    ]
    if field["default"] and not field["choices"]:
        rows.append([Button(Text("button.keep", {"value": field["default"]}), press + KEEP)])
    rows.append([Button(Text("button.leave_form"), "leave_form")])
    code, facts = field["label"]
    asked = {"label": Text(code, facts), "hint": Text(field["hint"]) if field["hint"] else "", "n": len(answers) + 1, "of": len(fields)}
    text = Text("form.question", asked)
    if problem is not None:
        text = Text("form.again", {"problem": problem, "question": text})
    return Reply(text, rows=tuple(tuple(row) for row in rows), private=True)
