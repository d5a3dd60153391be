"""Whose study it is: that of this sweep, and not of a copy of its folder, and not an empty one in its place."""

import socket
from pathlib import Path

import optuna

from mrisynth.errors import InvalidInputError
from mrisynth.files import read_json
from mrisynth.results.store import SweepDirectory
from mrisynth.search.storage.database import is_shared

STUDY = "mrisynth"
"""What a study is called that is alone in its storage."""


def study_name(sweep: SweepDirectory, storage: str) -> str:
    """What a sweep's study is called: in a database, where there are others, by the sweep's own id too."""
    return f"{sweep.name}-{read_json(sweep.lineage)['id']}" if is_shared(storage) else STUDY


def claim(study: optuna.Study, sweep: SweepDirectory, storage: str) -> None:
    """See to it that a study just opened is this sweep's; one in a database learns where its sweep is.

    Raises:
        InvalidInputError: it has no trials and the sweep has, or it is the study of a folder of which this is a copy.
    """
    trials = len(sweep.trial_directories())
    if trials and not study.get_trials(deepcopy=False):
        where = "study/" if not is_shared(storage) else storage
        raise InvalidInputError(
            f"{sweep.root} has {trials} trial{'s' * (trials != 1)} and its study ({where}) has none: it is not the one "
            "that the sweep began with; put that back, or name a database that has moved: mrisynth resume --storage URL"
        )
    if is_shared(storage):
        home = {"host": socket.gethostname(), "folder": str(sweep.root.resolve())}
        stored = study.user_attrs.get("home")
        if stored not in (None, home):
            _refuse_copy(sweep, stored)
        if stored != home:
            study.set_user_attr("home", home)


def _refuse_copy(sweep: SweepDirectory, stored: dict[str, str]) -> None:
    """Two folders with one study would each go on with the other's trials; a folder that has moved may go on."""
    original = SweepDirectory(Path(stored["folder"]))
    if stored["host"] != socket.gethostname() or not original.lineage.is_file():
        return
    same = original.root.samefile(sweep.root)
    if not same and read_json(original.lineage)["id"] == read_json(sweep.lineage)["id"]:
        raise InvalidInputError(
            f"{sweep.root} is a copy of {original.root}, and the study of both is one, in a database; go on with that "
            "folder, or remove it first"
        )
