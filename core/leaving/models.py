"""Pictures that are to be deleted: kept until their bytes are gone, whatever dies in between."""

from sqlalchemy import Column, String, Table

from core.db import metadata

doomed_blobs = Table("doomed_blobs", metadata, Column("name", String(128), primary_key=True))
