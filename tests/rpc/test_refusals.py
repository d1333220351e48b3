import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rpc.refusals import to_ascii_json


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_body_of_any_text_fits_in_a_header_and_reads_back(text: str) -> None:
    body = to_ascii_json({"error": text})
    assert all(" " <= character <= "~" for character in body)
    assert json.loads(body) == {"error": text}
    lines = to_ascii_json({"error": text}, indented=True).split("\n")
    assert all(" " <= character <= "~" for line in lines for character in line)
    assert [lines[0], lines[2], json.loads("".join(lines))] == ["{", "}", {"error": text}]


@pytest.mark.parametrize("text", ["plain", "ü", "\U0001f600", "\x7f", "a\nb"])
def test_characters_at_the_borders_read_back(text: str) -> None:
    assert json.loads(to_ascii_json([text])) == [text]
