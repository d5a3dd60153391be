"""Choices that live in the URL under their own name; what a URL says is only compared with what may be chosen."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import streamlit as st
from components.words import plain

Choice = TypeVar("Choice")


def read(name: str, options: Sequence[Choice], default: Choice) -> Choice:
    """What the URL says, if it is one of the options; a sentence and the default where it is something else."""
    asked = st.query_params.get(name)
    if asked is None:
        return default
    known = {str(option): option for option in options}
    if asked not in known:
        st.warning(f"There is no {name} {plain(asked[:80])} to be shown here.", icon=":material/search_off:")
        return default
    return known[asked]


def read_trials(name: str, existing: Sequence[int]) -> list[int]:
    """The trials that the URL lists ("3,7"), those that exist; a sentence about the others."""
    asked = [word for text in st.query_params.get_all(name) for word in text.split(",") if word]
    known = {str(number): number for number in existing}
    unknown = [word for word in dict.fromkeys(asked) if word not in known]
    if unknown:
        shown = plain(", ".join(unknown[:5])[:80])
        st.warning(f"There is no trial {shown} in this sweep.", icon=":material/search_off:")
    return [known[word] for word in dict.fromkeys(asked) if word in known]


def pick(widget: Callable[..., Choice], name: str, options: Sequence[Choice], default: Choice, **look: Any) -> Choice:
    """A box, slider or the like that shows what the URL says and puts into it what is chosen.

    Args:
        widget: `st.selectbox`, `st.select_slider` or the same of a column.
        name: the choice's name in the URL.
        options: what may be chosen.
        default: what is chosen where the URL says nothing.
        look: the widget's other arguments, `label` among them.
    """
    key = f"chosen {name}"
    st.session_state[key] = read(name, options, default)
    return widget(options=options, key=key, on_change=lambda: write(name, st.session_state[key]), **look)


def write(name: str, value: object) -> None:
    """Put a choice into the URL; nothing, or an empty one, out of it."""
    if value is None or value == "":
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != str(value):
        st.query_params[name] = str(value)
