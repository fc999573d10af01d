"""The rails that the settings turn on, ready to be called."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from core.config import Settings
from core.errors import Misconfigured
from core.payments.rails.alipay import AlipayRail
from core.payments.rails.base import Rail
from core.payments.rails.stripe import StripeRail
from core.providers.http import Client


@asynccontextmanager
async def open_rails(settings: Settings, client: Client, now: Callable[[], int]) -> AsyncIterator[dict[str, Rail]]:
    """By name; Stars are not among them, as only the Telegram bot can ask for them. `now` in microseconds since 1970.

    Raises Misconfigured for keys that are none.
    """
    rails: dict[str, Rail] = {}
    async with AsyncExitStack() as stack:
        if "stripe" in settings.rails:
            key, secret = settings.stripe_secret_key.get_secret_value(), settings.stripe_webhook_secret.get_secret_value()
            rails["stripe"] = stripe = StripeRail(key, secret, settings.stripe_api_url)
            stack.push_async_callback(stripe.close_client)
        if "alipay" in settings.rails:
            rails["alipay"] = alipay_rail(settings, client, now)
        yield rails


def alipay_rail(settings: Settings, client: Client, now: Callable[[], int]) -> AlipayRail:
    """Raises Misconfigured for keys that are none, without showing them."""
    private, public = settings.alipay_private_key.get_secret_value(), settings.alipay_public_key.get_secret_value()
    try:
        return AlipayRail(settings.alipay_app_id, settings.alipay_seller_id, private, public, settings.alipay_gateway_url, client, now=now)
    except ValueError as error:  # its words begin with the setting
        setting, _, problem = str(error).partition(" ")
        raise Misconfigured(setting=setting, problem=problem) from None
