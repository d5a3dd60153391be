"""Files that a browser fetches from this server under an address that is a digest of their content.

Streamlit's own store for pictures serves them: there is no path in an address that could be forged, and a file goes
when no session shows it any more.
"""

from streamlit import runtime


def address(data: bytes, kind: str, place: str) -> str:
    """The address under which `data` can be fetched as long as the page shows it.

    Args:
        data: the file.
        kind: its MIME type.
        place: which of the page's files it is; another file in the same place takes its place.
    """
    return runtime.get_instance().media_file_mgr.add(data, kind, place)
