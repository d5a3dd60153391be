"""Who may look: everyone on this machine, and from elsewhere whoever has logged in.

Pages run only after `admit` said yes, and what they show (pictures too) is sent to that session alone.
"""

import ipaddress
import os
from collections.abc import Mapping
from typing import Any

import streamlit as st
from components.words import plain
from streamlit.errors import StreamlitSecretNotFoundError

from mrisynth.errors import UsageError

VARIABLE = "MRISYNTH_LOGIN"
"""What `mrisynth dashboard` decided: "on", "waived" (somebody said --no-login), or "off" (loopback alone)."""


def admit() -> bool:
    """Whether this visitor may see the pages; shows the way to log in where they may not yet.

    Raises:
        UsageError: the server is bound to a public address, and neither is a login configured nor was it waived.
    """
    decided = os.environ.get(VARIABLE)
    if decided == "waived":
        return True
    secrets = _secrets()
    if decided == "on" or "auth" in secrets:
        return _has_logged_in(secrets)
    if not _is_loopback(st.get_option("server.address")):
        raise UsageError(
            "this dashboard is bound to an address that others can reach, and no login is configured: start it with "
            "`mrisynth dashboard`, which binds to this machine alone, or configure a login (SECURITY.md)"
        )
    return True


def is_allowed(user: Mapping[str, Any], allowed: list[str]) -> bool:
    """Whether an account is among those that may look.

    Args:
        user: what the provider says of it.
        allowed: addresses ("ann@lab.org") and domains ("@lab.org"); an empty list lets in all that the provider does.
    """
    if not allowed:
        return True
    email = str(user.get("email") or "").casefold()
    if not email or user.get("email_verified") is False:
        return False
    return any(email == each.casefold() or (each[:1] == "@" and email.endswith(each.casefold())) for each in allowed)


def _has_logged_in(secrets: Mapping[str, Any]) -> bool:
    if not st.user.get("is_logged_in"):
        st.title("mrisynth", anchor=False)
        st.text("Log in to see the results.")
        st.button("Log in", icon=":material/login:", on_click=st.login)
        return False
    email = str(st.user.get("email") or st.user.get("name") or "")
    with st.sidebar:
        st.caption(f"Logged in as {plain(email)}")
        st.button("Log out", icon=":material/logout:", on_click=st.logout)
    allowed = secrets.get("mrisynth", {}).get("allow", [])
    if is_allowed(st.user, [str(each) for each in allowed]):
        return True
    st.error(
        plain(f"{email} is not among those who may look: ask whoever runs this dashboard."), icon=":material/block:"
    )
    return False


def _secrets() -> Mapping[str, Any]:
    try:
        return st.secrets.to_dict()
    except StreamlitSecretNotFoundError:
        return {}


def _is_loopback(address: str | None) -> bool:
    """Whether only this machine reaches it; without an address the server listens everywhere."""
    try:
        return ipaddress.ip_address(address or "0.0.0.0").is_loopback
    except ValueError:
        return address == "localhost"
