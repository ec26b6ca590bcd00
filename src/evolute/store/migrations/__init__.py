"""The way from any released schema of a store to the present one."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_ALEMBIC = threading.Lock()


def migrate(connection: Connection) -> None:
    """Bring the database of this connection to the newest revision, inside its transaction."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # users did not ask for its progress
    config = Config()
    folder = str(Path(__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALEMBIC:  # it keeps the migration that runs in a module of its own
        command.upgrade(config, "head")
