"""Run by Alembic: migrates the connection that :func:`migrate` hands over."""

from __future__ import annotations

from alembic import context

from evolute.store.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # all of a migration or none: SQLite can, though Alembic doubts it
)
with context.begin_transaction():
    context.run_migrations()
