"""Text on disk is UTF-8, whatever the locale: GDCM resets it to "C" in the process that reads a DICOM folder."""

import ast
from pathlib import Path

import pytest
from test_layers import FILES, ROOT


def opens_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open":
        modes = call.args[0 if isinstance(call.func, ast.Attribute) else 1 :]
        return all(isinstance(mode, ast.Constant) and "b" not in str(mode.value) for mode in modes)
    runs = name in ("run", "Popen") and any(keyword.arg == "text" for keyword in call.keywords)
    return runs or name in ("read_text", "write_text")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_opened_as_utf8(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    for call in filter(opens_text, calls):
        named = {keyword.arg for keyword in call.keywords}
        assert "encoding" in named, f"{path}, line {call.lineno}: {ast.unparse(call)}"
