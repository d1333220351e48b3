"""What one stream is given to send."""

from server.core.channels import Claim, Listening, Taken
from server.core.deliveries import Description, Parcel
from server.core.listening import Listener


def listener(*, acknowledges: bool) -> Listener:
    return Listener(Listening("c", 1), acknowledges=acknowledges, poke=lambda: None)


def taken(task_id: str, claim: int = 1) -> Taken:
    return Taken(Parcel(task_id, claim, 1, 0, Description(1, "text/plain", None), b"x", failed=False), "s", "a")


async def test_what_was_lost_before_it_was_sent_is_not_sent():
    stream = listener(acknowledges=True)
    first, second = taken("1"), taken("2")
    stream.give([first, second])
    stream.forget([first.claim])
    assert await stream.next(1) == second
    assert await stream.next(0) is None


async def test_what_was_lost_and_taken_again_is_sent_once():
    stream = listener(acknowledges=False)
    stream.give([taken("1")])
    stream.forget([Claim("1", 1)])
    stream.give([taken("1", claim=2)])
    assert (await stream.next(1)).claim == Claim("1", 2)
    assert await stream.next(0) is None


async def test_what_is_sent_is_gone_unless_it_is_to_be_acknowledged():
    for acknowledges, gone in ((True, []), (False, [Claim("1", 1)])):
        stream = listener(acknowledges=acknowledges)
        stream.give([taken("1")])
        stream.is_sent(await stream.next(1))
        assert stream.sent == gone
