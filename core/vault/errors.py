"""What the vault refuses."""

from core.errors import AetherflowError, Refusal


class DuplicateSecret(Refusal):
    """The same secret is in escrow already."""

    code = "duplicate_secret"


class SecretMissing(Refusal):
    """Nothing is sealed under that name (any more). Facts: `subject`."""

    code = "secret_missing"


class CannotOpen(AetherflowError):
    """A sealed value does not open: another key-encryption key, another context, or changed bytes. Facts: `subject`."""

    code = "cannot_open"
