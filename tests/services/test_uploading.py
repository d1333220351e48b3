"""DatasetService.Upload and GetUpload, over gRPC."""

import asyncio
import contextlib
import uuid
from functools import partial

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from server.core import credentials, datasets, uploading
from server.core.caller import Role
from server.core.errors import ProtocolBroken, StreamIdle
from server.services.uploading import MAX_ROWS, Uploading
from server.store.engine import StoreUnavailable
from taskhouse.v1 import datasets_pb2 as pb
from taskhouse.v1 import datasets_pb2_grpc
from tests.core.filled import dataset, kept_rows
from tests.core.scenes import HOUSE, organization
from tests.services.test_datasets import bearer, refused


@pytest_asyncio.fixture
async def stub(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield datasets_pb2_grpc.DatasetServiceStub(channel)


@pytest_asyncio.fixture
async def acme(store):
    caller = await organization(store)
    await dataset(store, caller)
    return caller


@pytest_asyncio.fixture
async def writer(store, acme):
    return await bearer(store, "acme", Role.TOKEN_WRITE)


@pytest.fixture
def upload_id():
    return str(uuid.uuid4())


def start(upload_id, name="heights") -> pb.UploadRequest:
    return pb.UploadRequest(start=pb.UploadStart(dataset=name, upload_id=upload_id))


def rows(first_row: int, *users: str, data: str = '{"height": 170}') -> pb.UploadRequest:
    sent = [pb.UploadRow(user=user, data=data) for user in users]
    return pb.UploadRequest(rows=pb.UploadRows(first_row=first_row, rows=sent))


def numbered(first_row: int, count: int) -> pb.UploadRequest:
    return rows(first_row, *(f"u{number}" for number in range(first_row, first_row + count)))


async def users_in(store) -> list[str]:
    return [row.user_id for row in await kept_rows(store)]


async def until_acknowledged(stub, writer, upload_id, count) -> None:
    """Wait until so many rows are stored."""
    asked = pb.GetUploadRequest(upload_id=upload_id)
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):  # It has not begun yet.
                if (await stub.GetUpload(asked, metadata=writer)).acknowledged_rows == count:
                    return
            await asyncio.sleep(0.005)


async def test_a_stream_is_stored_in_its_order_and_acknowledged(stub, writer, store, upload_id):
    messages = [
        start(upload_id),
        rows(0, "b", "a"),
        numbered(2, MAX_ROWS),
        numbered(2 + MAX_ROWS, 1),
    ]
    upload = await stub.Upload(iter(messages), metadata=writer)
    assert (upload.id, upload.dataset, upload.acknowledged_rows) == (upload_id, "heights", 3 + MAX_ROWS)
    assert upload.create_time.seconds > 1_700_000_000
    assert await users_in(store) == ["b", "a", *(f"u{number}" for number in range(2, 3 + MAX_ROWS))]
    assert await stub.GetUpload(pb.GetUploadRequest(upload_id=upload_id), metadata=writer) == upload


async def test_many_small_messages_make_few_versions_and_lose_nothing(stub, writer, store, acme, upload_id):
    messages = [start(upload_id), *(numbered(number, 1) for number in range(2000))]
    assert (await stub.Upload(iter(messages), metadata=writer)).acknowledged_rows == 2000
    assert await users_in(store) == [f"u{number}" for number in range(2000)]
    assert (await store.read(datasets.get, caller=acme, name="heights")).version == 2


async def test_what_is_sent_again_is_stored_once(stub, writer, store, upload_id):
    await stub.Upload(iter([start(upload_id), numbered(0, 5), numbered(3, 4)]), metadata=writer)
    again = [start(upload_id), numbered(0, 2), numbered(1, 9)]
    assert (await stub.Upload(iter(again), metadata=writer)).acknowledged_rows == 10
    assert await users_in(store) == [f"u{number}" for number in range(10)]


async def test_a_stream_that_breaks_off_goes_on_from_what_was_acknowledged(stub, writer, store, acme, upload_id):
    call = stub.Upload(metadata=writer)
    await call.write(start(upload_id))
    await call.write(numbered(0, 300))
    await until_acknowledged(stub, writer, upload_id, 300)
    call.cancel()
    upload = await stub.Upload(iter([start(upload_id), numbered(300, 100)]), metadata=writer)
    assert upload.acknowledged_rows == 400
    assert await users_in(store) == [f"u{number}" for number in range(400)]


async def test_a_stream_that_is_cut_off_moves_the_dataset_to_another_version(stub, writer, store, acme, upload_id):
    call = stub.Upload(metadata=writer)
    await call.write(start(upload_id))
    await call.write(numbered(0, 1))
    await until_acknowledged(stub, writer, upload_id, 1)
    call.cancel()
    async with asyncio.timeout(10):
        while (await store.read(datasets.get, caller=acme, name="heights")).version < 2:  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0.005)


async def test_of_two_streams_the_later_goes_on_and_the_earlier_is_told(stub, writer, store, upload_id):
    earlier = stub.Upload(metadata=writer)
    await earlier.write(start(upload_id))
    await earlier.write(numbered(0, 2))
    await until_acknowledged(stub, writer, upload_id, 2)
    assert (await stub.Upload(iter([start(upload_id), numbered(2, 2)]), metadata=writer)).acknowledged_rows == 4
    await earlier.write(rows(2, "x", "y"))
    await earlier.done_writing()
    assert (await refused(earlier))[:2] == (grpc.StatusCode.ABORTED, "UPLOAD_TAKEN_OVER")
    assert await users_in(store) == ["u0", "u1", "u2", "u3"]


async def test_a_stream_takes_over_from_one_that_is_storing_rows_at_its_first_try(store, acme, upload_id, monkeypatch):
    storing, begin, tries = asyncio.Event(), uploading.begin, []
    tell = partial(asyncio.get_running_loop().call_soon_threadsafe, storing.set)
    started = {"caller": acme, "dataset": "heights", "upload_id": upload_id}
    stream = await store.write_guarded(begin, **started)

    async def put(tx):
        for first_row in range(0, 20_000, 1000):
            await uploading.put(tx, stream=stream, first_row=first_row, rows=[(stream.table.id, "u", "[1]")] * 1000)
            tell()

    async def begin_and_count(tx, **values):
        tries.append(1)
        return await begin(tx, **values)

    async def nothing():
        yield start(upload_id)

    monkeypatch.setattr(uploading, "begin", begin_and_count)
    putting = asyncio.create_task(store.write_guarded(put))
    await asyncio.wait_for(storing.wait(), 10)
    later = await asyncio.wait_for(Uploading(store, asyncio.Event()).serve(nothing(), acme), 30)
    await putting
    assert later.acknowledged_rows == 20_000
    assert len(tries) == 1


async def test_a_stream_whose_end_cannot_be_stored_is_told_what_ended_it(store, acme, upload_id, monkeypatch):
    async def gone(tx, *, stream):
        raise StoreUnavailable("gone for now")

    monkeypatch.setattr(uploading, "end", gone)

    async def broken():
        yield start(upload_id)
        yield start(upload_id)

    with pytest.raises(ProtocolBroken):
        await Uploading(store, asyncio.Event()).serve(broken(), acme)


async def test_the_end_of_a_stream_is_stored_however_often_it_is_cancelled(store, acme, upload_id, monkeypatch):
    storing, go_on, write = asyncio.Event(), asyncio.Event(), store.write_guarded

    async def slow(verb, **values):
        if verb is uploading.put:
            storing.set()
            await go_on.wait()
        return await write(verb, **values)

    async def silent():
        yield start(upload_id)
        yield numbered(0, 2)
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "write_guarded", slow)
    serving = asyncio.create_task(Uploading(store, asyncio.Event()).serve(silent(), acme))
    await asyncio.wait_for(storing.wait(), 10)
    for _ in range(2):
        serving.cancel()
        await asyncio.wait({serving}, timeout=0.05)
    with pytest.raises(asyncio.CancelledError):
        await serving
    go_on.set()
    async with asyncio.timeout(10):
        while (await store.read(datasets.get, caller=acme, name="heights")).version < 2:  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0.005)


async def test_a_bad_row_ends_the_stream_and_those_before_it_stay(stub, writer, store, acme, upload_id):
    bad = rows(0, *"abc")
    bad.rows.rows[2].data = '{"height": "tall", "sex": 1}'
    code, reason, fields = await refused(stub.Upload(iter([start(upload_id), bad, numbered(3, 1)]), metadata=writer))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert fields == ["rows[2].height", "rows[2].sex"]
    assert await users_in(store) == ["a", "b"]
    upload = await stub.GetUpload(pb.GetUploadRequest(upload_id=upload_id), metadata=writer)
    assert upload.acknowledged_rows == 2
    assert (await store.read(datasets.get, caller=acme, name="heights")).version == 2
    assert (await stub.Upload(iter([start(upload_id), rows(2, "c")]), metadata=writer)).acknowledged_rows == 3


BEGIN = start("6b1f2a3c-7d52-4a0e-9b0f-0c1d2e3f4a5b")
BROKEN, FIELD = ("FAILED_PRECONDITION", "PROTOCOL_BROKEN", []), ("INVALID_ARGUMENT", "INVALID_FIELD")
WRONG = {
    "no start": ([rows(0, "a")], BROKEN),
    "nothing": ([], BROKEN),
    "an empty message": ([pb.UploadRequest()], BROKEN),
    "two starts": ([BEGIN, BEGIN], BROKEN),
    "an empty message later": ([BEGIN, pb.UploadRequest()], BROKEN),
    "no id": ([start("")], (*FIELD, ["start.upload_id"])),
    "no dataset": ([start(BEGIN.start.upload_id, "")], ("NOT_FOUND", "DATASET_NOT_FOUND", [])),
    "no rows": ([BEGIN, rows(0)], (*FIELD, ["rows.rows"])),
    "too many rows": ([BEGIN, rows(0, *["a"] * (MAX_ROWS + 1))], (*FIELD, ["rows.rows"])),
    "a gap": ([BEGIN, rows(1, "a")], (*FIELD, ["rows.first_row"])),
    "a number below 0": ([BEGIN, rows(-1, "a")], (*FIELD, ["rows.first_row"])),
    "no JSON": ([BEGIN, rows(0, "a", data="x")], (*FIELD, ["rows[0].data"])),
    "no user": ([BEGIN, rows(0, "")], (*FIELD, ["rows[0].user"])),
    "a large row": ([BEGIN, rows(0, "a", data=" " * 1024 * 1024)], ("RESOURCE_EXHAUSTED", "TOO_LARGE", [])),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_is_told(stub, writer, store, case):
    messages, (code, reason, fields) = WRONG[case]
    assert await refused(stub.Upload(iter(messages), metadata=writer)) == (grpc.StatusCode[code], reason, fields)
    assert await users_in(store) == []


async def test_what_came_before_a_message_that_cannot_be_read_is_stored(server, writer, store, upload_id):
    async with grpc.aio.insecure_channel(server.address) as channel:
        raw = channel.stream_unary("/taskhouse.v1.DatasetService/Upload")
        good = [message.SerializeToString() for message in (start(upload_id), numbered(0, 3))]
        code, reason, _ = await refused(raw(iter([*good, b"\xff"]), metadata=writer))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE_REQUEST")
    assert await users_in(store) == ["u0", "u1", "u2"]


async def test_an_upload_id_belongs_to_one_dataset_and_one_organization(stub, writer, store, acme, upload_id):
    await dataset(store, acme, name="weights")
    await stub.Upload(iter([start(upload_id)]), metadata=writer)
    taken = await refused(stub.Upload(iter([start(upload_id, "weights")]), metadata=writer))
    assert taken[:2] == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    await organization(store, "other")
    stranger = await bearer(store, "other", Role.TOKEN_WRITE)
    code, reason, _ = await refused(stub.GetUpload(pb.GetUploadRequest(upload_id=upload_id), metadata=stranger))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")


async def test_an_unknown_upload_is_not_found(stub, writer):
    for upload_id in ("", "x", str(uuid.uuid4())):
        code, reason, _ = await refused(stub.GetUpload(pb.GetUploadRequest(upload_id=upload_id), metadata=writer))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")


async def test_who_may_not_upload_is_refused_before_anything_is_read(stub, store, acme, upload_id):
    reader = await bearer(store, "acme", Role.TOKEN_READ)
    code, reason, _ = await refused(stub.Upload(metadata=reader))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")
    code, reason, _ = await refused(stub.Upload())
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "NOT_AUTHENTICATED")


async def test_the_answer_begins_before_the_first_message(stub, writer):
    """The edge waits only so long for a whole request, unless the answer has begun."""
    call = stub.Upload(metadata=writer)
    await asyncio.wait_for(call.initial_metadata(), 5)
    call.cancel()


async def test_a_revoked_credential_ends_its_stream_and_what_was_acknowledged_stays(
    stub, store, acme, writer, upload_id
):
    call = stub.Upload(metadata=writer)
    await call.write(start(upload_id))
    await call.write(numbered(0, 2))
    await until_acknowledged(stub, writer, upload_id, 2)
    (token,) = (await store.read(credentials.page, caller=acme, organization="", page_size=10, page_token="")).items
    await store.write(credentials.revoke, caller=HOUSE, credential_id=token.id)
    async with asyncio.timeout(5):
        assert (await refused(call))[:2] == (grpc.StatusCode.UNAUTHENTICATED, "NOT_AUTHENTICATED")
    assert await users_in(store) == ["u0", "u1"]


async def test_a_server_that_stops_ends_its_streams_with_what_they_sent_stored(stub, server, store, writer, upload_id):
    call = stub.Upload(metadata=writer)
    await call.write(start(upload_id))
    await call.write(numbered(0, 2))
    await until_acknowledged(stub, writer, upload_id, 2)
    server.stopping.set()
    async with asyncio.timeout(5):
        assert (await refused(call))[:2] == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
    assert await users_in(store) == ["u0", "u1"]


async def test_a_stream_on_which_nothing_comes_is_ended(store, acme, upload_id):
    async def silent():
        yield start(upload_id)
        yield numbered(0, 2)
        await asyncio.Event().wait()

    with pytest.raises(StreamIdle):
        await Uploading(store, asyncio.Event(), idle_seconds=0.05).serve(silent(), acme)
    assert await users_in(store) == ["u0", "u1"]


@pytest.mark.parametrize(
    ("size", "text", "count", "most"), [(200, '{"height": 1}', 300, 60), (1, " " * 900_000 + '{"height": 1}', 30, 8)]
)
async def test_what_is_read_ahead_of_a_slow_store_is_bounded(
    store, acme, upload_id, monkeypatch, size, text, count, most
):
    """`count` messages of `size` rows; at most `most` messages are on their way, or wait, or came last."""
    read, ahead, write = 0, 0, store.write_guarded

    async def slow(verb, **values):
        nonlocal ahead
        if verb is uploading.put:
            await asyncio.sleep(0.02)  # The store is what is slow; nothing is waited for.
            ahead = max(ahead, read - values["first_row"] // size)
        return await write(verb, **values)

    async def many():
        nonlocal read
        yield start(upload_id)
        for number in range(count):
            read += 1
            yield rows(number * size, *["u"] * size, data=text)

    monkeypatch.setattr(store, "write_guarded", slow)
    upload = await Uploading(store, asyncio.Event()).serve(many(), acme)
    assert upload.acknowledged_rows == count * size
    assert ahead <= most
