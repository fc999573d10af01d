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


class VaultAway(Refusal):
    """The KMS that keeps the key-encryption keys does not do its part now; nothing has changed, and it may be asked again.

    Facts: `problem`, a word of `transit.PROBLEMS`, and `by` where it is one key version alone.
    """

    code = "vault_away"
