"""Run by Alembic: migrates the connection that :func:`migrate` hands over."""

from __future__ import annotations

from alembic import context

from evolute.store.schema import METADATA, VERSION_TABLE


def _run() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        version_table=VERSION_TABLE,
    )
    with context.begin_transaction():
        context.run_migrations()


if hasattr(context, "config"):  # it is there only while Alembic runs this file
    _run()
