"""Uploads that come as streams."""

import asyncio
import uuid

import pytest

from server.core import datasets, uploading
from server.core.caller import Role
from server.core.errors import DatasetNotFound, InvalidFields, RequestIdReused, UploadNotFound, UploadTakenOver
from tests.core.filled import dataset, kept_rows, upload
from tests.core.scenes import later, organization

UPLOAD_ID = "6b1f2a3c-7d52-4a0e-9b0f-0c1d2e3f4a5b"


@pytest.fixture
async def acme(store):
    caller = await organization(store, role=Role.UPLOAD_ANY)
    await dataset(store, caller)
    return caller


async def begin(store, caller, name="heights", upload_id=UPLOAD_ID):
    return await store.write(uploading.begin, caller=caller, dataset=name, upload_id=upload_id)


async def put(store, stream, first_row, *users):
    rows = [(stream.table.id, user, "[1]") for user in users]
    return await store.write_guarded(uploading.put, stream=stream, first_row=first_row, rows=rows)


async def version(store, caller):
    return (await store.read(datasets.get, caller=caller, name="heights")).version


async def test_rows_are_stored_in_their_order_and_counted(store, acme):
    stream = await begin(store, acme)
    assert stream.first_row == 0
    assert await put(store, stream, 0, "b", "a") == 2
    assert await put(store, stream, 2, "c") == 3
    ended = await store.write(uploading.end, stream=stream)
    assert ended[:3] == (UPLOAD_ID, "heights", 3)
    assert [row.user_id for row in await kept_rows(store)] == ["b", "a", "c"]
    assert await store.read(uploading.get, caller=acme, upload_id=UPLOAD_ID.upper()) == ended


async def test_a_later_stream_goes_on_where_the_first_one_broke_off(store, acme):
    await put(store, await begin(store, acme), 0, "a", "b")
    second = await begin(store, acme, upload_id=f"{{{UPLOAD_ID.upper()}}}")
    assert second.first_row == 2
    assert await put(store, second, 2, "c") == 3


async def test_a_stream_that_was_taken_over_stores_nothing_more(store, acme):
    first = await begin(store, acme)
    await put(store, first, 0, "a")
    second = await begin(store, acme)
    with pytest.raises(UploadTakenOver):
        await put(store, first, 1, "b")
    assert await put(store, second, 1, "c") == 2
    assert [row.user_id for row in await kept_rows(store)] == ["a", "c"]


async def test_of_streams_that_begin_at_once_one_goes_on(store, acme):
    streams = await asyncio.gather(*(begin(store, acme) for _ in range(10)))
    assert sorted(stream.number for stream in streams) == list(range(1, 11))
    outcomes = await asyncio.gather(*(put(store, stream, 0, "a") for stream in streams), return_exceptions=True)
    assert [outcome for outcome in outcomes if not isinstance(outcome, UploadTakenOver)] == [1]
    assert len(await kept_rows(store)) == 1


async def test_the_same_batch_is_not_stored_twice(store, acme):
    stream = await begin(store, acme)
    await put(store, stream, 0, "a")
    with pytest.raises(UploadTakenOver):
        await put(store, stream, 0, "a")
    assert len(await kept_rows(store)) == 1


async def test_a_stream_makes_a_version_with_its_first_rows_and_another_when_it_ends(store, acme):
    versions = [await version(store, acme)]
    stream = await begin(store, acme)
    versions.append(await version(store, acme))
    for first in range(3):
        await put(store, stream, first, "a")
        versions.append(await version(store, acme))
    await store.write(uploading.end, stream=stream)
    versions.append(await version(store, acme))
    assert versions == [0, 0, 1, 1, 1, 2]


async def test_a_stream_without_rows_makes_no_version(store, acme):
    await store.write(uploading.end, stream=await begin(store, acme))
    assert await version(store, acme) == 0


async def test_a_stream_that_died_is_ended_by_the_one_that_goes_on(store, acme):
    await put(store, await begin(store, acme), 0, "a")
    second = await begin(store, acme)
    await store.write(uploading.end, stream=second)
    assert await version(store, acme) == 2


async def test_the_end_of_a_stream_that_was_taken_over_changes_nothing(store, acme):
    first = await begin(store, acme)
    await put(store, first, 0, "a")
    second = await begin(store, acme)
    assert (await store.write(uploading.end, stream=first)).acknowledged_rows == 1
    assert await version(store, acme) == 1
    await store.write(uploading.end, stream=second)
    assert await version(store, acme) == 2


async def tidy(store, *, after):
    """Tidy up as if so many seconds had passed."""
    return await store.write_guarded(later, after, uploading.tidy)


async def test_a_stream_whose_server_died_is_ended_when_it_was_idle_for_long(store, acme):
    await put(store, await begin(store, acme), 0, "a")
    assert not await tidy(store, after=200)
    assert await version(store, acme) == 1
    assert await tidy(store, after=400)
    assert not await tidy(store, after=400)
    assert await version(store, acme) == 2


async def test_a_stream_that_was_only_slow_goes_on_and_is_ended_again(store, acme):
    stream = await begin(store, acme)
    await put(store, stream, 0, "a")
    assert await tidy(store, after=400)
    assert await put(store, stream, 1, "b") == 2
    assert await version(store, acme) == 3
    await store.write(uploading.end, stream=stream)
    assert await version(store, acme) == 4


async def test_rows_and_new_streams_keep_an_upload_from_being_idle(store, acme):
    stream = await begin(store, acme)
    await store.write_guarded(
        later, 1000, uploading.put, stream=stream, first_row=0, rows=[(stream.table.id, "a", "[1]")]
    )
    assert not await tidy(store, after=1200)
    await store.write_guarded(later, 2000, uploading.begin, caller=acme, dataset="heights", upload_id=UPLOAD_ID)
    assert not await tidy(store, after=2200)
    assert await tidy(store, after=2400)


async def test_an_upload_without_rows_is_forgotten_and_any_other_is_kept_for_ever(store, acme):
    empty, full = await begin(store, acme), await begin(store, acme, upload_id=str(uuid.uuid4()))
    await put(store, full, 0, "a")
    for stream in (empty, full):
        await store.write(uploading.end, stream=stream)
    assert await tidy(store, after=400)
    assert not await tidy(store, after=400)
    assert await version(store, acme) == 2
    with pytest.raises(UploadNotFound):
        await store.read(uploading.get, caller=acme, upload_id=empty.upload_id)
    assert (await store.read(uploading.get, caller=acme, upload_id=full.upload_id)).acknowledged_rows == 1
    with pytest.raises(UploadTakenOver):
        await put(store, empty, 0, "a")
    assert (await begin(store, acme)).first_row == 0


async def test_an_upload_keeps_its_dataset(store, acme):
    await dataset(store, acme, name="weights")
    await begin(store, acme)
    with pytest.raises(RequestIdReused):
        await begin(store, acme, "weights")
    assert (await store.read(uploading.get, caller=acme, upload_id=UPLOAD_ID)).dataset == "heights"


async def test_organizations_do_not_meet(store, acme):
    other = await organization(store, "other", Role.UPLOAD_ANY)
    await begin(store, acme)
    with pytest.raises(UploadNotFound):
        await store.read(uploading.get, caller=other, upload_id=UPLOAD_ID)
    with pytest.raises(DatasetNotFound):
        await begin(store, other)
    await dataset(store, other)
    assert (await begin(store, other)).first_row == 0
    assert (await begin(store, acme)).number == 2


@pytest.mark.parametrize("upload_id", ["", "heights", "6b1f2a3c", UPLOAD_ID + "0", "\0"])
async def test_an_upload_id_is_a_uuid(store, acme, upload_id):
    with pytest.raises(InvalidFields) as refused:
        await begin(store, acme, upload_id=upload_id)
    assert [fault.field for fault in refused.value.faults] == ["start.upload_id"]
    with pytest.raises(UploadNotFound):
        await store.read(uploading.get, caller=acme, upload_id=upload_id)


@pytest.mark.parametrize("name", ["", "weights", "ac_heights", "\0", "x" * 100_000])
async def test_an_unknown_dataset_takes_no_upload(store, acme, name):
    with pytest.raises(DatasetNotFound):
        await begin(store, acme, name)
    with pytest.raises(UploadNotFound):
        await store.read(uploading.get, caller=acme, upload_id=UPLOAD_ID)


ROWS = [("a", '{"height": 170.5}'), ("b", ' { "height" : 3 } '), ("c", "{}"), ("d", '{"height":null, "sex": "f:m"}')]
BAD = {
    "": ["rows[11].data"],
    "{": ["rows[11].data"],
    "[]": ["rows[11].data"],
    "null": ["rows[11].data"],
    '"text"': ["rows[11].data"],
    "[" * 100_000: ["rows[11].data"],
    '{"height": NaN}': ["rows[11].data"],
    '{"height": 1} {"height": 2}': ["rows[11].data"],
    '{"height": "170"}': ["rows[11].height"],
    '{"height": true, "sex": 1}': ["rows[11].height", "rows[11].sex"],
    '{"height": 1e39}': ["rows[11].height"],
    '{"sex": "a\\u0000"}': ["rows[11].sex"],
    '{"size": 1}': ["rows[11].size"],
    '{"height": 1, "height": 2}': ["rows[11].height"],
    '{"height": 1, "h\\u0065ight": 2}': ["rows[11].height"],
    '{"height":' + "[" * 1000 + "]" * 1000 + ', "height": 1}': ["rows[11].data"],
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_row_is_told_by_its_number_and_column_and_those_before_it_are_good(store, acme, bad):
    await dataset(store, acme, name="people", height="float?", sex="text?")
    table = (await begin(store, acme, "people")).table
    sent = uploading.check(table, [ROWS[0], ("u", bad), ROWS[1]], first_row=10)
    assert [fault.field for fault in sent.refusal.faults] == BAD[bad]
    assert sent.rows == [(table.id, "a", "[170.5,null]")]


@pytest.mark.parametrize("user", ["", "x" * 256, "a\0b"])
async def test_a_bad_user_is_told_by_its_row(store, acme, user):
    table = (await begin(store, acme)).table
    sent = uploading.check(table, [(user, '{"height": 1}')], first_row=0)
    assert [fault.field for fault in sent.refusal.faults] == ["rows[0].user"]
    assert sent.rows == []


async def test_good_rows_are_stored_as_those_of_other_uploads_are(store, acme):
    await dataset(store, acme, name="people", height="float?", sex="text?")
    table = (await begin(store, acme, "people")).table
    sent = uploading.check(table, ROWS, first_row=0)
    assert sent.refusal is None
    await upload(store, acme, {"a": {"people": [{"height": 170.5}]}, "d": {"people": [{"sex": "f:m"}]}})
    stored = await kept_rows(store)
    assert [(user, data) for _, user, data in (sent.rows[0], sent.rows[3])] == stored
    assert [data for _, _, data in sent.rows] == ["[170.5,null]", "[3,null]", "[null,null]", '[null,"f:m"]']


async def test_many_faults_of_a_row_are_bounded(store, acme):
    table = (await begin(store, acme)).table
    row = "{" + ",".join(f'"c{number}": 1' for number in range(10_000)) + "}"
    sent = uploading.check(table, [("u", row)], first_row=0)
    assert 1 < len(sent.refusal.faults) < 100


async def test_uploads_of_other_ids_are_others(store, acme):
    for _ in range(2):
        stream = await begin(store, acme, upload_id=str(uuid.uuid4()))
        assert await put(store, stream, 0, "a") == 1
    assert len(await kept_rows(store)) == 2
