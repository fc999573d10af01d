"""One transaction and the services that share it."""

from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.service import Access
from core.acts.service import Acts
from core.disputes.service import Disputes
from core.generations.service import Generations
from core.generations.vote import Ballots
from core.idempotency.service import Idempotency
from core.joining.service import Joining
from core.leaving.service import Leaving
from core.ledger.service import Ledger
from core.mailbox.service import Mailbox
from core.oversight.alert import Alerts
from core.oversight.control import Controls
from core.oversight.record import Records
from core.oversight.service import Oversight
from core.payments.service import Payments
from core.payouts.service import Payouts
from core.pools.refill import Refills
from core.pools.service import Pools
from core.pools.sponsor import Sponsors
from core.presets.service import Presets
from core.resources.service import Resources
from core.users.service import Users


class UnitOfWork:
    """`now` (microseconds) is read once and is the same for everything that happens in it."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self.connection = connection
        self.now = now
        self.access = Access(connection, now)
        self.acts = Acts(connection, now)
        self.ledger = Ledger(connection, now)
        self.mailbox = Mailbox(connection, now)
        self.users = Users(connection, now)
        self.resources = Resources(connection, now)
        self.idempotency = Idempotency(connection, now)
        self.generations = Generations(connection, now)
        self.ballots = Ballots(connection, now)
        self.disputes = Disputes(connection, now)
        self.payments = Payments(connection, now)
        self.pools = Pools(connection, now)
        self.sponsors = Sponsors(connection, now)
        self.refills = Refills(connection, now)
        self.payouts = Payouts(connection, now)
        self.presets = Presets(connection, now)
        self.oversight = Oversight(connection, now)
        self.records = Records(connection)
        self.controls = Controls(connection, now)
        self.alerts = Alerts(connection, now)
        self.leaving = Leaving(connection, now)
        self.joining = Joining(connection, now)
