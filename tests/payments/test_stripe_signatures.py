"""Whom the Stripe rail believes: signatures good, old, of the future, forged; and with which secrets there is a rail at all."""

import pytest
import stripe

from core.errors import Misconfigured
from core.payments.rails.base import BadSignature, Said
from sandbox.stripe_events import signature
from tests.payments.stripe_stage import AT, SECRET, SESSION, a_rail, an_event, read

BODY = an_event("checkout.session.completed", SESSION | {"id": "cs_é"})


def test_good_signatures() -> None:
    theirs = stripe.WebhookSignature.generate_signature_header(BODY.decode(), SECRET, timestamp=AT)
    rolled = signature(BODY, ["whsec_old", SECRET], AT)
    assert rolled.count("v1=") == 2
    for header in (theirs, rolled, signature(BODY, [SECRET, "whsec_new"], AT), signature(BODY, [SECRET], AT)):
        event = read(BODY, header)
        assert event is not None
        assert event.said is Said.PAID


@pytest.mark.parametrize(("seconds", "good"), [(0, True), (300, True), (-300, True), (301, False), (-301, False), (86_400, False)])
def test_a_signature_ages(seconds: int, good: bool) -> None:
    at = (AT + seconds) * 1_000_000
    if good:
        assert read(BODY, at=at) is not None
    else:
        with pytest.raises(BadSignature) as bad:
            read(BODY, at=at)
        assert bad.value.facts == {"problem": "time"}


GOOD = signature(BODY, [SECRET], AT)
V1 = GOOD.split(",")[1]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        f"t={AT}",
        V1,
        f"t=,{V1}",
        f"t=x,{V1}",
        f"t={AT + 1},{V1}",
        f"t={AT},v1=",
        f"t={AT},v1=é",
        f"t={AT},{V1[:-1]}",
        f"t={AT},{V1.replace('v1', 'v0')}",
        f"t={AT},{GOOD.split(',')[2]}",
        f"t={'9' * 5_000},{V1}",
        signature(BODY, ["whsec_other"], AT),
        signature(BODY, [""], AT),
        signature(BODY, [SECRET.upper()], AT),
        signature(b" " + BODY, [SECRET], AT),
    ],
)
def test_bad_signatures(header: str) -> None:
    with pytest.raises(BadSignature):
        read(BODY, header)


@pytest.mark.parametrize("body", [BODY + b" ", BODY.replace(b"order_1", b"order_2"), b"", b"\xff\xfe"])
def test_a_changed_body(body: bytes) -> None:
    with pytest.raises(BadSignature):
        read(body, GOOD)


def test_a_signed_body_that_is_no_json() -> None:
    with pytest.raises(BadSignature):
        read(b"not json")
    with pytest.raises(BadSignature):
        read(b"\xff")


def test_no_header_at_all() -> None:
    with pytest.raises(BadSignature):
        a_rail().read({}, BODY, AT * 1_000_000)


@pytest.mark.parametrize("secret", ["", " ", "\t\n"])
def test_there_is_no_rail_without_a_webhook_secret(secret: str) -> None:
    with pytest.raises(Misconfigured) as wrong:
        a_rail(secret=secret)
    assert wrong.value.facts["setting"] == "STRIPE_WEBHOOK_SECRET"


@pytest.mark.parametrize("key", ["", "pk_test_1", "sk_1", "sk_test_", "sk_test_1\n", "sk_test_1 ", "sk_test_ключ", "whsec_1"])
def test_there_is_no_rail_without_a_secret_key(key: str) -> None:
    with pytest.raises(Misconfigured) as wrong:
        a_rail(key)
    assert wrong.value.facts["setting"] == "STRIPE_SECRET_KEY"
    assert not key.strip() or key not in str(wrong.value)
