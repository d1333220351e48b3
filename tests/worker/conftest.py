import pytest

from tests.worker.played import PlayedHouse


@pytest.fixture
def house() -> PlayedHouse:
    return PlayedHouse()
