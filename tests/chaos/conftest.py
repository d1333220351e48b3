from collections.abc import Iterator
from pathlib import Path

import pytest

from server.store.address import DatabaseAddress
from tests.chaos.house import House
from tests.chaos.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def house(nursery: Nursery, tmp_path: Path, address: DatabaseAddress) -> Iterator[House]:
    """A house of which no part runs yet."""
    house = House(nursery, tmp_path, address)
    try:
        house.set_up()
        yield house
    finally:
        house.close()
