"""A study in a database: which ones there are, and how they are opened."""

import time
from pathlib import Path

from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from mrisynth.errors import InvalidInputError, MrisynthError, UsageError
from mrisynth.search.storage.outage import reason

JOURNAL = "journal"
SQLITE = "sqlite"

SQLITE_WAITS = 30.0
"""Seconds that a locked SQLite file is waited for."""

POSTGRESQL = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""What libpq is told, lest a network that was cut keeps us waiting for hours."""

_RACES = 10


def parse_storage(storage: str) -> str:
    """What a user calls the storage of a study, in the form that `sweep.yaml` keeps.

    Args:
        storage: "journal", "sqlite", or "postgresql://USER@HOST/DATABASE".

    Raises:
        UsageError: it is none of them, or holds a password, which a file would keep in clear.
    """
    if storage in (JOURNAL, SQLITE):
        return storage
    try:
        url = make_url(storage)
    except exc.ArgumentError:
        raise UsageError(f"the storage {storage!r} is unknown; {_KNOWN}") from None
    if url.password is not None:
        raise UsageError(
            f"the storage {url.render_as_string()} holds a password, which every copy of the sweep's folder would "
            "show; put it into ~/.pgpass or PGPASSWORD and leave it out here"
        )
    family = url.get_backend_name()
    if family in ("postgresql", "postgres") and url.drivername in (family, "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg").render_as_string()
    if family == "sqlite" and url.database and Path(url.database).is_absolute():
        return url.render_as_string()
    raise UsageError(f"the storage {storage!r} is unknown; {_KNOWN}")


_KNOWN = (
    "there are: journal (a file in the sweep's folder), sqlite (another), sqlite:////ABSOLUTE/PATH, and "
    "postgresql://USER@HOST/DATABASE"
)


def is_shared(storage: str) -> bool:
    """Whether the study lies outside the sweep's folder, where it does not move with it and has others beside it."""
    return storage not in (JOURNAL, SQLITE)


def open_database(storage: str, folder: Path) -> BaseStorage:
    """Open a database, and make its tables if there are none.

    Args:
        storage: as `parse_storage` gives it, but not "journal".
        folder: where the file of "sqlite" lies; made if it is not there.

    Raises:
        InvalidInputError: it has tables of another Optuna.
        MrisynthError: its driver is not installed.
        Exception: it cannot be reached, and so on; see `outage.is_outage`.
    """
    url = make_url(storage) if is_shared(storage) else URL.create("sqlite", database=str(folder / "study.db"))
    if not is_shared(storage):
        folder.mkdir(parents=True, exist_ok=True)
    is_file = url.get_backend_name() == "sqlite"
    settings = {"pool_pre_ping": True, "connect_args": {"timeout": SQLITE_WAITS} if is_file else POSTGRESQL}
    for race in range(_RACES):
        try:
            return get_storage(RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=settings))
        except ImportError:
            raise MrisynthError(
                "the driver of PostgreSQL is not installed; install it: pip install 'mrisynth[postgresql]'"
            ) from None
        except RuntimeError as error:
            raise InvalidInputError(f"{storage}: {reason(error)}") from error
        except exc.DBAPIError as error:
            # Two sweeps that open an empty database at once make the same tables; whoever comes second looks again.
            met = isinstance(error, exc.IntegrityError) or "already exists" in str(error)
            if not met or race == _RACES - 1:
                raise
            time.sleep(0.2)
    raise AssertionError
