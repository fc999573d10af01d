"""Credits, as integers. One Credit is 1,000 milli-credits; no amount is ever a float."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

CREDIT = 1000
"""Milli-credits in one Credit."""

MAX_AMOUNT = 1_000_000_000 * CREDIT
"""The largest amount of one movement: a thousand million Credits. Sums of millions of such legs still fit into 64 bits."""


def format_credits(amount: int) -> str:
    """Milli-credits as a plain decimal number of Credits without trailing zeros: 4500 -> "4.5", -20 -> "-0.02"."""
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), CREDIT)
    return f"{sign}{whole}" + (f".{part:03d}".rstrip("0") if part else "")


def format_dollars(amount: int) -> str:
    """Micro-dollars, in which providers' balances and costs are kept, as people read them: 1_250_000 -> "$1.25"."""
    whole, part = divmod(amount // 10_000, 100)
    return f"${whole}.{part:02d}"


def parse_credits(text: str) -> int:
    """A number that a person typed, in Credits, as milli-credits. Raises ValueError for anything else, more than 3 decimals included."""
    try:
        amount = Decimal(text.strip().replace(",", ".")) * CREDIT
    except InvalidOperation:
        raise ValueError(text) from None
    if not amount.is_finite() or amount != amount.to_integral_value() or abs(amount) > MAX_AMOUNT:
        raise ValueError(text)
    return int(amount)


def format_price(amount: int, currency: str) -> str:
    """An amount of a currency's smallest unit as people write it.

    >>> format_price(500, "USD"), format_price(3600, "CNY"), format_price(80, "XTR")
    ('$5.00', '¥36.00', '80 ⭐')
    """
    if currency == "XTR":
        return f"{amount} ⭐"
    sign = {"USD": "$", "CNY": "¥"}.get(currency, f"{currency} ")
    return f"{sign}{amount // 100}.{amount % 100:02d}"


def percent_of(amount: int, percent: int) -> int:
    """`percent` of an amount, rounded up to a whole milli-credit. Both non-negative."""
    return -(-amount * percent // 100)


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Divides an amount in proportion to weights by largest remainder: the parts are integers and always sum to the amount.

    Equal remainders go to the earlier part. `amount` >= 0, weights >= 0 and not all zero.

    >>> split(10_001, [85, 5, 10])
    [8501, 500, 1000]
    """
    total = sum(weights)
    assert amount >= 0 and total > 0 and min(weights) >= 0
    parts = [amount * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for i in by_remainder[: amount - sum(parts)]:
        parts[i] += 1
    return parts
