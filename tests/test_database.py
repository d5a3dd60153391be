"""Studies in databases: which are taken, which refused, and what a restart of the server does to them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from mrisynth.errors import UsageError
from mrisynth.search.storage.database import is_shared, open_database, parse_storage
from mrisynth.search.storage.door import open_storage
from mrisynth.search.storage.outage import Patience, StorageLostError


@pytest.mark.parametrize(
    ("storage", "parsed", "shared"),
    [
        ("journal", "journal", False),
        ("sqlite", "sqlite", False),
        ("sqlite:////data/study.db", "sqlite:////data/study.db", True),
        ("postgresql://me@db/mri", "postgresql+psycopg://me@db/mri", True),
        ("postgresql+psycopg://me@db:5433/mri?sslmode=require", None, True),
    ],
)
def test_a_storage_by_any_of_its_names(storage, parsed, shared):
    assert parse_storage(storage) == (parsed or storage)
    assert is_shared(parse_storage(storage)) == shared


@pytest.mark.parametrize("storage", ["", "jornal", "mysql://me@db/x", "sqlite:///here.db", "postgresql+asyncpg://db/x"])
def test_an_unknown_storage_is_refused_with_those_that_there_are(storage):
    with pytest.raises(UsageError, match=r"is unknown; there are: journal"):
        parse_storage(storage)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="PGPASSWORD") as error:
        parse_storage("postgresql://me:secret@db/mri")
    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(StorageLostError, match=r"postgresql.*cannot be used: connection"):
        open_storage(tmp_path / "journal.log", parse_storage("postgresql://me@127.0.0.1:9/mri"))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_sweeps_that_open_an_empty_database_at_once_both_get_it(tmp_path, kind, request):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    if kind == "postgresql":
        url = parse_storage(request.getfixturevalue("postgres").new_database())
    ready = threading.Barrier(4)

    def open_it(_):
        ready.wait()
        return open_database(url, tmp_path)

    with ThreadPoolExecutor(4) as pool:
        storages = list(pool.map(open_it, range(4)))
    optuna.create_study(storage=storages[0], study_name="mine")
    assert [storage.get_study_id_from_name("mine") for storage in storages] == [1] * 4


@pytest.mark.slow
def test_a_study_outlives_the_restart_of_its_server(tmp_path, postgres):
    said = []

    def pause(_):
        if postgres.process.poll() is not None:
            postgres.start()

    storage = open_storage(
        tmp_path / "journal.log", parse_storage(postgres.url), patience=Patience(60, say=said.append, pause=pause)
    )
    study = optuna.create_study(storage=storage, study_name="restarted", direction="maximize")
    for restart in range(4):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        postgres.stop()
        study.tell(trial, restart)
    assert [trial.value for trial in study.trials] == [0, 1, 2, 3]
    assert [sentence.split("can")[1][:13] for sentence in said[:2]] == ["not be used (", " be used again"[:13]]
    assert len(said) == 8
