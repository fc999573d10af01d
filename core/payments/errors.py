"""What is refused about payments."""

from core.errors import NotFound, Refusal


class PackageNotFound(NotFound):
    """No such package, or not for that currency. Facts: `package`, `known`."""

    code = "package_not_found"


class PaymentNotFound(NotFound):
    """No such payment, or not theirs. Facts: `payment`."""

    code = "payment_not_found"


class RailOff(Refusal):
    """The rail is not configured, or not for this platform. Facts: `rail`, `open` (those that are)."""

    code = "rail_off"


class TooManyPayments(Refusal):
    """More unpaid or recent payments than allowed. Facts: `limit`."""

    code = "too_many_payments"


class NotPayable(Refusal):
    """The order is paid, over, or somebody else's. Facts: `state`."""

    code = "not_payable"


class NothingToRefund(Refusal):
    """Nothing of that payment is unspent. Facts: `payment`."""

    code = "nothing_to_refund"
