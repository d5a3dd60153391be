"""`mrisynth dashboard`: to this machine alone, unless there is a login or somebody waives it."""

import importlib.util
import ipaddress
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from mrisynth.cli.console import say
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError, UsageError

_SECRETS = Path(".streamlit") / "secrets.toml"
_NEEDED = ("redirect_uri", "cookie_secret")
_QUIET = ("--server.fileWatcherType=none", "--browser.gatherUsageStats=false", "--server.maxUploadSize=1")


def dashboard(
    results: Annotated[Path, typer.Argument(help="The folder that holds your sweeps.")],
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 8501,
    host: Annotated[
        str, typer.Option(help="The address it binds to. Others than this machine's need a login.")
    ] = "127.0.0.1",
    secrets: Annotated[
        Path | None, typer.Option(help="The file with the login's [auth]; default: ./.streamlit or ~/.streamlit.")
    ] = None,
    no_login: Annotated[
        bool, typer.Option("--no-login", help="Let in everyone who reaches the address: you guard it otherwise.")
    ] = False,
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser.")] = False,
) -> None:
    """Browse sweeps, trials and their pictures; binds to this machine only, unless a login is configured."""
    from mrisynth.shipped import dashboard_script

    if not results.is_dir():
        raise NotFoundError(f"{results}: there is no such folder; name the one that you gave to sweep --results")
    file = _secrets_file(secrets)
    login = file is not None and _has_login(file) and not no_login
    if not (login or no_login or _is_loopback(host)):
        raise UsageError(
            f"--host {host} would show your results to everyone who reaches it: configure a login in {_SECRETS} "
            "(SECURITY.md), or say --no-login if something else guards that address"
        )
    script = dashboard_script()
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    command += [f"--server.address={host}", f"--server.headless={str(headless).lower()}", *_QUIET]
    if file is not None:
        command.append(f"--secrets.files={file}")
    if login or not _is_loopback(host):
        command.append("--server.allowedHosts=*")  # else only this machine's names, against rebound DNS names
    say(f"http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)")
    environment = {
        **os.environ,
        "MRISYNTH_RESULTS": str(results.resolve()),
        "MRISYNTH_LOGIN": "on" if login else "waived" if no_login else "off",
    }
    code = subprocess.call(command, env=environment, cwd=script.parent)
    if code not in (0, 130, -2):
        raise MrisynthError(f"the dashboard ended with code {code}; is port {port} taken? try --port {port + 1}")


def _secrets_file(named: Path | None) -> Path | None:
    """The file that holds the login, as an absolute path; None where there is none."""
    if named is not None:
        if not named.is_file():
            raise NotFoundError(f"{named}: there is no such file; --secrets names the one with the login's [auth]")
        return named.resolve()
    return next((path.resolve() for path in (_SECRETS, Path.home() / _SECRETS) if path.is_file()), None)


def _has_login(file: Path) -> bool:
    """Whether a file of secrets configures a login; one that is half configured is refused."""
    try:
        auth = tomllib.loads(file.read_text(encoding="utf-8")).get("auth")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(f"{file} is not valid TOML: {error}") from None
    if auth is None:
        return False
    missing = [name for name in _NEEDED if not isinstance(auth, dict) or not auth.get(name)]
    if missing:
        raise InvalidInputError(f"{file}: the login in [auth] lacks {' and '.join(missing)}; see SECURITY.md")
    if importlib.util.find_spec("authlib") is None:
        raise UsageError("a login needs Authlib, which is not installed: pip install 'mrisynth[login]'")
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
