import base64

import pytest

from server.core.errors import InvalidFields
from server.core.pages import MAX_PAGE_BYTES, read_page


def test_a_page_ends_before_it_is_too_large_and_goes_on_from_there() -> None:
    asked = read_page(10, "").within([MAX_PAGE_BYTES // 3] * 10)
    assert (asked.size, asked.most) == (3, 4)


def test_a_page_has_at_least_one_item_however_large() -> None:
    assert read_page(10, "").within([MAX_PAGE_BYTES * 2, 1]).size == 1


def test_a_page_of_small_items_is_as_long_as_asked() -> None:
    assert read_page(10, "").within([1] * 10).size == 10


@pytest.mark.parametrize("key", ["\0", "a\nb", "\x7f"])
def test_a_token_with_control_characters_is_refused(key: str) -> None:
    with pytest.raises(InvalidFields):
        read_page(10, base64.urlsafe_b64encode(key.encode()).decode())
