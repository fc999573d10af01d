"""What alembic runs. The connection comes from `migrations.upgrade` or `migrations.revise`; without one, SQL for PostgreSQL is written."""

from alembic import context

from core.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
else:
    # "Batch": SQLite cannot alter a table in most ways, so alembic copies it there; PostgreSQL gets plain ALTERs from the same words.
    # One transaction on both: left to itself, alembic commits each step on SQLite, and two that start together run into each other.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)

with context.begin_transaction():
    context.run_migrations()
