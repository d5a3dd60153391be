"""`mrisynth dashboard` before it starts a server: which addresses it binds to, and what it asks for."""

import subprocess

import pytest

AUTH = '[auth]\nredirect_uri = "https://x/oauth2callback"\ncookie_secret = "0123456789abcdef"\n'


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The commands and the environments with which a server would have been started; no secrets lie about."""
    calls = []
    monkeypatch.setattr(subprocess, "call", lambda command, **how: calls.append((command, how["env"])) or 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return calls


def test_it_binds_to_this_machine_and_reports_to_nobody(command, started, tmp_path):
    assert command("dashboard", tmp_path).code == 0
    ((arguments, environment),) = started
    assert "--server.address=127.0.0.1" in arguments
    assert "--browser.gatherUsageStats=false" in arguments
    assert "--server.allowedHosts=*" not in arguments
    assert environment["MRISYNTH_LOGIN"] == "off"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "node-7"])
def test_a_public_address_without_a_login_is_refused(command, started, tmp_path, host):
    answer = command("dashboard", tmp_path, "--host", host)
    assert (answer.code, started) == (2, [])
    assert "configure a login" in answer.stderr


def test_somebody_may_waive_the_login(command, started, tmp_path):
    assert command("dashboard", tmp_path, "--host", "0.0.0.0", "--no-login").code == 0
    assert started[0][1]["MRISYNTH_LOGIN"] == "waived"


def test_a_login_opens_a_public_address(command, started, tmp_path):
    (tmp_path / "mine.toml").write_text(AUTH, encoding="utf-8")
    assert command("dashboard", tmp_path, "--host", "0.0.0.0", "--secrets", tmp_path / "mine.toml").code == 0
    ((arguments, environment),) = started
    assert f"--secrets.files={tmp_path / 'mine.toml'}" in arguments
    assert environment["MRISYNTH_LOGIN"] == "on"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "configure a login"),
        ('[auth]\nredirect_uri = "x"\n', 3, "lacks cookie_secret"),
        ("[auth", 3, "is not valid TOML"),
    ],
)
def test_half_a_login_is_refused(command, started, tmp_path, *, text, code, said):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(text, encoding="utf-8")
    answer = command("dashboard", tmp_path, "--host", "0.0.0.0")
    assert (answer.code, started) == (code, [])
    assert said in " ".join(answer.stderr.split())
