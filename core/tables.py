"""Every table of the schema, for migrations: importing the models registers them with the one MetaData."""

from core.access import models as access
from core.acts import models as acts
from core.db import metadata
from core.disputes import models as disputes
from core.generations import models as generations
from core.idempotency import models as idempotency
from core.leaving import models as leaving
from core.ledger import models as ledger
from core.mailbox import models as mailbox
from core.oversight import models as oversight
from core.payments import models as payments
from core.payouts import models as payouts
from core.pools import models as pools
from core.presets import models as presets
from core.resources import models as resources
from core.users import models as users
from core.vault import models as vault

__all__ = [
    "access",
    "acts",
    "disputes",
    "generations",
    "idempotency",
    "leaving",
    "ledger",
    "mailbox",
    "metadata",
    "oversight",
    "payments",
    "payouts",
    "pools",
    "presets",
    "resources",
    "users",
    "vault",
]
