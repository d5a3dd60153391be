"""How commands take a prepared cohort: as a folder, or as the URL of a remote one."""

from pathlib import Path
from typing import Annotated

import typer

PREPARED = "A prepared cohort: a folder, or s3://BUCKET/FOLDER (docs/store.md)."


def store_at(location: str) -> Path:
    """The folder of a store, or the mirror of the one that a URL names."""
    from mrisynth.data.store.mirror import locate

    return locate(location)


Store = Annotated[Path, typer.Argument(help=PREPARED, parser=store_at, metavar="STORE")]
Data = Annotated[Path, typer.Option(help=PREPARED, parser=store_at, metavar="STORE")]


def name_of(store: Path) -> str:
    """How the person who named a store calls it."""
    from mrisynth.data.store import records

    return records.name_of(store)
