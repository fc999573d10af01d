"""Pictures that are to be deleted: kept until their bytes are gone, whatever dies in between."""

from sqlalchemy import Column, String, Table

from core.db import metadata

doomed_blobs = Table("doomed_blobs", metadata, Column("name", String(128), primary_key=True))
CHARTS, KINDS = "charts", ("stats", "earnings")
"""The folder of pictures of figures, and what they are of."""


def chart_name(kind: str, user_id: int) -> str:
    """The name of the one chart of a kind that a user has, which is drawn over."""
    return f"{kind}-{user_id}"
