"""The parameters of a Bot API call: everything is text, structures are JSON in text, files stand apart."""

from dataclasses import dataclass, field

from sandbox.telegram_rules import bad_request, decoded


@dataclass(slots=True)
class Upload:
    """A file in a multipart call."""

    name: str
    media_type: str
    data: bytes


@dataclass(slots=True)
class Params:
    """The parameters of one call."""

    values: dict[str, str]
    uploads: dict[str, Upload] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A text; empty when left out."""
        return self.values.get(name, "")

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number."""
        try:
            return int(self.values.get(name) or default)
        except ValueError:
            raise bad_request(f"invalid {name} specified") from None

    def flag(self, name: str) -> bool:
        """A Boolean."""
        return self.text(name).lower() in ("true", "1")

    def names(self, name: str) -> list[str] | None:
        """A list of texts; None when left out."""
        listed = decoded(self.values[name], name) if self.text(name) else None
        return None if listed is None else [str(item) for item in listed]
