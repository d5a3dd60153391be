"""What is no YAML, or no mapping, is refused in one sentence: where it is to be mended, and how."""

import pytest

from mrisynth.errors import InvalidInputError
from mrisynth.search.space_file import read_space_file
from mrisynth.search.yaml_document import plain_value, read_yaml_document

HEAD = "budget: {trials: 3}\nsearch:\n  generator: [unet, dcgan]\n"


@pytest.mark.parametrize(
    ("text", "at", "sentence"),
    [
        (HEAD + "\tepochs: [1, 2]\n", (4, 1), "a tab; indent with spaces, not with tabs"),
        (
            HEAD + "  seed: [1\n  epochs: [1]\n",
            (4, 9),
            "this '[' has no ']', or a comma is missing, before line 5",
        ),
        (HEAD + "  seed: [1, 2\n", (4, 9), "this '[' has no ']', or a comma is missing, before line 5"),
        ("budget: {trials: 3\nsearch:\n", (1, 9), "this '{' has no '}', or a comma is missing, before line 2"),
        ("budget: {trials: 3}}\nsearch: 1\n", (1, 20), "there is a '}' too many; remove it, or open it before"),
        (HEAD + "  seed: {int:[1, 2]}\n", (4, 14), "write a space after ':'"),
        (
            HEAD + "  seed: [1]\n  seed: [2]\n",
            (5, 3),
            "'seed' stands twice, first on line 4; remove one of them",
        ),
        (HEAD + "  a: {b: 1, b: 2}\n", (4, 13), "the key 'b' stands twice; remove one of them"),
        (
            HEAD + "fixed:\n  a:\n    seed: 1\n  seed: 2\n  seed: 3\n",
            (8, 3),
            "'seed' stands twice, first on line 7",
        ),
        (HEAD + "   seed: [1]\n", (4, 4), "this line begins in column 4, and those around it in column 3; indent them"),
        (HEAD + "  - seed\n", (4, 3), "a list entry stands among keys; write lists like [a, b] behind their key"),
        (HEAD + "  seed:[1]\n  epochs: [1]\n", (4, 3), "this line has no ': ' (colon and space) behind its key"),
        ("search\n  # one\n  generator: [unet]\n", (1, 1), "this line has no ': ' (colon and space) behind its key"),
        ("description: U-net: wide\n", (1, 19), "a second ': ' on one line; put text with a colon in it in quotes"),
        ("description: 'fine\n" + HEAD, (1, 14), "the quote that opens here is not closed"),
        ("description: 'it's fine'\n", (1, 18), "put text with quotes or brackets in it in double quotes"),
        (
            "description: *bold\n",
            (1, 14),
            "'*bold' names nothing; write &bold at what it repeats, or put",
        ),
        ("description: & so\n", (1, 14), "put text that begins with & or * in quotes"),
        ("description: %5\n", (1, 14), "put text that begins with % in quotes"),
        ('description: "\\q"\n', (1, 16), "\\q means nothing in double quotes; use single ones"),
        ("description: 2020-13-45\n", (1, 1), "put dates in quotes"),
        ("%YAML 1.9\n---\n" + HEAD, (1, 1), "begin no line with %"),
        (HEAD + "---\n" + HEAD, (4, 1), "a second document begins here; a file holds one, so remove the line ---"),
        (HEAD + "fixed: {<<: 3}\n", (4, 13), "<< takes a mapping, like <<: *name with a &name before"),
        (HEAD + "a\x00: 1\n", (4, 2), "a character that is no text (#x0000); remove it"),
        (HEAD + "seed: " + "[" * 1000, (1, 1), "it is nested too deeply"),
    ],
)
def test_what_is_no_yaml_is_said_where_it_is_to_be_mended(text: str, at: tuple[int, int], sentence: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_space_file(text, "my.yaml")
    assert str(caught.value).startswith(f"space my.yaml, line {at[0]}, column {at[1]}: not valid YAML: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the file is empty; see docs/spaces.md"),
        ("# nothing\n", "the file is empty; see docs/spaces.md"),
        ("- a\n", "a space is a mapping of keys like 'search:' and 'budget:', not a list"),
        ("unet\n", "a space is a mapping of keys like 'search:' and 'budget:', not a word"),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_space_file(text, "my.yaml")
    assert str(caught.value).startswith("space my.yaml, line 1, column 1: ")
    assert sentence in str(caught.value)


def test_every_key_and_entry_has_its_position() -> None:
    data, positions = read_yaml_document("a: {b: [1, 2.5]}\nc: no\n", "x")
    assert data == {"a": {"b": [1, 2.5]}, "c": "no"}
    assert positions == {
        ("a",): (1, 1),
        ("a", "b"): (1, 5),
        ("a", "b", 0): (1, 9),
        ("a", "b", 1): (1, 12),
        ("c",): (2, 1),
    }


def test_one_value_is_read_as_a_space_would_read_it() -> None:
    assert [plain_value(text, "x") for text in ("1e-5", "none", "true", "[1, a]")] == [1e-5, "none", True, [1, "a"]]
