"""What somebody should know of a sweep at once, as `mrisynth.results.alerts` finds it."""

from collections.abc import Sequence
from typing import Any

import streamlit as st
from components.words import plain

_ICONS = {"error": ":material/error:", "warning": ":material/warning:", "info": ":material/lightbulb:"}


def show(alerts: Sequence[dict[str, Any]]) -> None:
    """Each alert with what to do about it; mere hints are folded together."""
    for alert in alerts:
        if alert["severity"] != "info":
            box = st.error if alert["severity"] == "error" else st.warning
            box(_text(alert), icon=_ICONS[alert["severity"]])
            _command(alert)
    hints = [alert for alert in alerts if alert["severity"] == "info"]
    if hints:
        with st.expander(f"Hints ({len(hints)})", icon=_ICONS["info"]):
            for alert in hints:
                st.markdown(f"- {_text(alert)}")
                _command(alert)


def summary(alerts: Sequence[dict[str, Any]]) -> None:
    """The worst alert in one line, and how many there are besides; nothing of mere hints."""
    grave = [alert for alert in alerts if alert["severity"] != "info"]
    if grave:
        worst, colour = grave[0], "red" if grave[0]["severity"] == "error" else "orange"
        more = f" And {len(grave) - 1} more: see the Overview." if len(grave) > 1 else ""
        icon = _ICONS[worst["severity"]]
        st.markdown(f":{colour}[{icon} **{worst['severity'].capitalize()}:**] {plain(worst['reason'] + more)}")


def _text(alert: dict[str, Any]) -> str:
    return f"{plain(alert['reason'])} **{plain(alert['remedy'])}**"


def _command(alert: dict[str, Any]) -> None:
    if alert["command"]:
        st.code(alert["command"], language=None, wrap_lines=True)
