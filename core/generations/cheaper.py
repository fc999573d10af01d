"""What a pool would pay for instead of what it has refused."""

from dataclasses import replace
from datetime import date

from core.catalog import BadParameter, Catalog
from core.generations.models import Order
from core.generations.rules import check
from core.generations.spend import Purse


def cheapest(order: Order, purse: Purse, catalog: Catalog, today: date, now: int) -> tuple[str, int] | None:
    """The cheapest model on sale that takes all of the wish but its quality, and that the pool pays for now, with its price in
    milli-credits; None when there is none. `now` in microseconds."""
    parameters = replace(order.wish.parameters, quality=None)
    found = []
    for model in catalog.sale(today):
        try:
            wish, _, price = check(replace(order.wish, model=model, parameters=parameters), catalog, today)
        except BadParameter:
            continue
        if model != order.wish.model and purse.refuses(replace(order, wish=wish, price=price), now) is None:
            found.append((price, model))
    return (min(found)[1], min(found)[0]) if found else None
