"""Pages of lists that continue after the last item's key, whatever was added or taken away meanwhile."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

from server.core.errors import InvalidFields, invalid

DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_PAGE_BYTES = 2 * 1024 * 1024  # of what clients stored; gRPC's clients take answers of 4 MiB
QUICK_ITEMS = 100  # With QUICK_BYTES: what `store.read` may read that is rendered item by item; it takes about 3 ms.
QUICK_BYTES = 128 * 1024
MAX_DIGITS = 18  # Each number of so many fits into 64 bits.
T = TypeVar("T")


def fitting(sizes: Iterable[int], most: int) -> int:
    """Return how many of at most so many items, of these sizes in bytes, fit into MAX_PAGE_BYTES; at least one."""
    return min(most, max(sum(1 for total in accumulate(sizes) if total <= MAX_PAGE_BYTES), 1))


class Page(NamedTuple, Generic[T]):
    """Some items, and where the next page starts: "" if there is none."""

    items: Sequence[T]
    next_page_token: str


class Asked(NamedTuple):
    """The page that is asked for: at most `size` items, those beyond the key `after` ("": the first)."""

    size: int
    after: str

    @property
    def most(self) -> int:
        """How many items to look for: one more tells that there is another page."""
        return self.size + 1

    def within(self, sizes: Iterable[int]) -> "Asked":
        """Return what of the page fits into MAX_PAGE_BYTES, given its items' sizes in bytes; at least one item."""
        return Asked(fitting(sizes, self.size), self.after)

    def of(self, found: Sequence[T], key: Callable[[T], str]) -> Page[T]:
        """Return the page, of the up to `most` items that were found."""
        items = found[: self.size]
        return Page(items, token_of(key(items[-1])) if len(found) > self.size else "")


def read_page(page_size: int, page_token: str) -> Asked:
    """Read the fields that every list request has. Raises InvalidFields."""
    if page_size < 0:
        raise invalid("page_size", "must not be negative")
    return Asked(min(page_size, MAX_PAGE) or DEFAULT_PAGE, _key(page_token))


def is_quick(sizes: Sequence[int]) -> bool:
    """Say whether items of these sizes, in bytes, are read and rendered so fast that nobody notices."""
    return len(sizes) <= QUICK_ITEMS and sum(sizes) <= QUICK_BYTES


def unknown_token() -> InvalidFields:
    """Return the refusal of a page_token that no page of the list has given."""
    return invalid("page_token", "must be the next_page_token of the page before")


def number_of(key: str) -> int:
    """Return the number that a key after which a page begins is. Raises InvalidFields if it is none that a list has."""
    if not key.isascii() or not key.isdigit() or len(key) > MAX_DIGITS:
        raise unknown_token()
    return int(key)


def token_of(key: str) -> str:
    """Return the page_token for what comes after the item with this key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _key(token: str) -> str:
    try:
        key = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise unknown_token() from error
    if not key.isprintable():  # No key has control characters, and PostgreSQL's text cannot hold NUL.
        raise unknown_token()
    return key
