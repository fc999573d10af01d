"""Pictures that are to be deleted, from a moment on: kept until their bytes are gone, whatever dies in between."""

from sqlalchemy import Column, Index, String, Table

from core.db import Moment, metadata

doomed_blobs = Table(
    "doomed_blobs",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("due_at", Moment, nullable=False, server_default="0"),
    Index("ix_doomed_blobs_due_at", "due_at"),
)
