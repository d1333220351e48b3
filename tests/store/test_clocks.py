"""The time of a database server, as it is known from answers that take their time."""

import pytest

from server.store import clocks
from server.store.clocks import DatabaseClock

SECOND = 1_000_000
AHEAD = 1_700_000_000 * SECOND  # of the server before this machine's time since boot


class Machine:
    """A machine's time since boot, and looks at a server's clock by it. All in microseconds."""

    def __init__(self) -> None:
        self.now = 0
        self.clock = DatabaseClock()

    def look(self, *, there: int, back: int, ahead: int = AHEAD) -> int:
        """Look, with such ways there and back, and return by how much the clock is wrong afterwards."""
        began = self.clock.begin_look()
        self.now += there
        told = self.now + ahead
        self.now += back
        self.clock.end_look(began, told)
        return self.clock.now() - (self.now + ahead)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(clocks, "_since_boot", lambda: machine.now)
    return machine


def test_a_slow_answer_moves_nothing(machine):
    assert machine.look(there=500, back=500) == 0
    assert machine.look(there=30 * SECOND, back=500) == 0
    assert machine.look(there=500, back=30 * SECOND) == 0


def test_a_slow_first_answer_is_set_right_by_a_quick_one(machine):
    assert machine.look(there=0, back=6 * SECOND) == -3 * SECOND
    assert machine.look(there=500, back=500) == -500


@pytest.mark.parametrize("ahead", [AHEAD - 3600 * SECOND, AHEAD - SECOND, AHEAD + SECOND, AHEAD + 3600 * SECOND])
def test_a_server_whose_clock_was_set_is_followed(machine, ahead):
    machine.look(there=500, back=500)
    assert abs(machine.look(there=700, back=300, ahead=ahead)) <= 700


def test_answers_of_any_duration_leave_the_time_even(machine):
    machine.look(there=500, back=500)
    times = []
    for way in (1, 900, 70_000, 3, 2 * SECOND, 5):
        machine.look(there=way, back=1000 - way % 1000)
        times.append(machine.clock.now() - machine.now)
    assert max(times) - min(times) <= 500
