"""What people who write actions use.

    from server.worker.kit import Result, Task, Worker

    worker = Worker(service="icloud")

    @worker.action("fetch-data")
    def fetch_data(task: Task) -> Result:
        return Result.json({"sms": []})

`taskhouse work --module pkg.mod:worker` runs it. An action runs in a thread of its own. It returns Result.json or
Result.bytes where results are fetched or sent on a stream, and Result.histogram where they are pages; there it may also
be a generator that yields several. Raising fails the attempt, and the task is tried again later, unless a NonRetryable
is raised. A task may be started more than once, but only one attempt's outcome is accepted.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol

import orjson

from taskhouse.v1 import datasets_pb2, results_pb2

MAX_RESULT_BYTES = 400 * 1024  # as the JSON that the house keeps
MAX_LABEL = 200
MAX_TEXT = 2000
CHUNK_BYTES = 1024 * 1024  # of the parts in which bytes are sent
_CONTENT_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+[ -~]{0,100}", re.ASCII)
_SLUG = re.compile(r"[a-z0-9_-]{1,63}")


class LeaseLost(Exception):
    """The task was cancelled or given to another worker: whatever this attempt still does is in vain."""


class NonRetryable(Exception):
    """Trying the task again would be in vain: raised by an action, it fails the task at once, with this text."""


class BadResult(Exception):
    """The house would refuse this result; the text says why."""


class Bucket(NamedTuple):
    """How many users have one property: `value` of `label`, or `label` alone if that says it all."""

    label: str
    value: str | None
    users: int


class ExceptionCount(NamedTuple):
    """How many users met one error."""

    error: str
    users: int


class Counts(NamedTuple):
    """What the house tells of a dataset's users, anonymised: `Result.histogram(*counts)` publishes it."""

    buckets: list[Bucket]
    exceptions: list[ExceptionCount]


Data = bytes | Iterable[bytes] | BinaryIO
"""The bytes of a result: all of them, in pieces, or a file that is open for reading."""


@dataclass(frozen=True)
class Bytes:
    """Any bytes as a result. Pieces and files are read while they are sent, and only once."""

    data: Data
    content_type: str
    filename: str

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in parts of CHUNK_BYTES; the last one has at most that many, and may be empty."""
        waiting = bytearray()
        for piece in self._pieces():
            start = 0
            while len(waiting) + len(piece) - start > CHUNK_BYTES:
                end = start + CHUNK_BYTES - len(waiting)
                waiting += memoryview(piece)[start:end]
                yield bytes(waiting)
                waiting.clear()
                start = end
            waiting += memoryview(piece)[start:]
        yield bytes(waiting)

    def _pieces(self) -> Iterable[bytes]:
        if isinstance(self.data, bytes | bytearray | memoryview):
            return [bytes(self.data)]
        if hasattr(self.data, "read"):
            return iter(partial(self.data.read, CHUNK_BYTES), b"")
        return self.data


@dataclass(frozen=True)
class Result:
    """One outcome to publish."""

    content: results_pb2.Histogram | Bytes

    @staticmethod
    def json(content: object) -> "Result":
        """Return what `json` can say, for tasks whose results are no pages. Raises BadResult."""
        try:
            return Result.bytes(orjson.dumps(content), "application/json")
        except TypeError as error:
            raise BadResult(f"not JSON: {error}") from error

    @staticmethod
    def bytes(data: Data, content_type: str = "application/octet-stream", filename: str = "") -> "Result":
        """Return any bytes, for tasks whose results are no pages: as they are, or, if they are many, in pieces that an
        iterator yields, or as a file that is open for reading. Raises BadResult.
        """  # noqa: D205 - one sentence.
        if isinstance(data, str) or not (isinstance(data, Iterable) or hasattr(data, "read")):
            raise BadResult(f"the data must be bytes, pieces of bytes or a file, not {type(data).__name__}")
        if not _CONTENT_TYPE.fullmatch(content_type):
            raise BadResult(f"{content_type!r} is no content type")
        if len(filename) > MAX_LABEL or not filename.isprintable():
            raise BadResult(f"a file's name must have at most {MAX_LABEL} printable characters")
        return Result(Bytes(data, content_type, filename))

    @staticmethod
    def histogram(
        buckets: Iterable[tuple[str, str | None, int]], exceptions: Iterable[tuple[str, int]] = ()
    ) -> "Result":
        """Return anonymised counts of users, as Bucket and ExceptionCount or plain tuples. Raises BadResult.

        The house tells them as they are. Those of `Task.count_users` are anonymised, exceptions included; all others
        are for the action to anonymise.
        """
        try:
            content = results_pb2.Histogram(
                buckets=[results_pb2.Bucket(label=label, value=value, count=users) for label, value, users in buckets],
                exceptions=[results_pb2.ExceptionCount(error=error, count=users) for error, users in exceptions],
            )
        except (TypeError, ValueError) as error:
            raise BadResult(f"a histogram is (label, value, users) and (error, users): {error}") from error
        for bucket in content.buckets:
            if not 0 < len(bucket.label) <= MAX_LABEL:
                raise BadResult(f"a bucket's label must have 1 to {MAX_LABEL} characters")
            if len(bucket.value) > MAX_TEXT:
                raise BadResult(f"a bucket's value must have at most {MAX_TEXT} characters")
        if not all(0 < len(exception.error) <= MAX_TEXT for exception in content.exceptions):
            raise BadResult(f"an exception's error must have 1 to {MAX_TEXT} characters")
        if any(one.count < 0 for one in content.buckets) or any(one.count < 0 for one in content.exceptions):
            raise BadResult("a number of users must not be negative")
        kept = orjson.dumps(
            {
                "buckets": [
                    (one.label, one.value if one.HasField("value") else None, one.count) for one in content.buckets
                ],
                "exceptions": [(one.error, one.count) for one in content.exceptions],
            }
        )
        if len(kept) > MAX_RESULT_BYTES:
            raise BadResult(f"a result must have at most {MAX_RESULT_BYTES} bytes; as JSON this one has {len(kept)}")
        return Result(content)


class Lease(Protocol):
    """What a Task needs of the session that holds it."""

    @property
    def lost(self) -> bool:
        """The lease has ended."""

    def count_users(self, request: datasets_pb2.CountUsersRequest) -> datasets_pb2.CountUsersResponse:
        """Ask the house, in the name of the lease."""


@dataclass(frozen=True)
class Task:
    """A task to do, in one attempt."""

    id: str
    attempt: int  # from 1
    service: str
    action: str
    parameters: Mapping[str, str]
    lease: Lease

    @property
    def cancelled(self) -> bool:
        """Whether the lease has ended. Look at it in long work: what is done from then on is in vain."""
        return self.lease.lost

    def count_users(
        self, *, dataset: str, column: str, bin_width: str = "", categories: str = "", where: str = ""
    ) -> Counts:
        """Return how many users of a dataset are in each bin of a column, or have each value, anonymised.

        The texts are those of the action cloak/histogram. Raises LeaseLost, and as DatasetService.CountUsers refuses:
        NonRetryable for a question that is faulty or above the budget, else grpc.RpcError.
        """
        answer = self.lease.count_users(
            datasets_pb2.CountUsersRequest(
                dataset=dataset, column=column, bin_width=bin_width, categories=categories, where=where
            )
        )
        return Counts(
            [Bucket(bucket.label, bucket.value, bucket.count) for bucket in answer.buckets],
            [ExceptionCount(exception.error, exception.count) for exception in answer.exceptions],
        )


Action = Callable[[Task], Result | Iterator[Result]]


class Worker:
    """The actions of one service that this program can do."""

    def __init__(self, service: str) -> None:
        """Take the service's slug. Raises ValueError if it is none."""
        self.service = _slug("a service", service)
        self.actions: dict[str, Action] = {}

    def action(self, slug: str) -> Callable[[Action], Action]:
        """Register a function as the service's action of this slug. Raises ValueError if it is none, or registered."""
        _slug("an action", slug)

        def register(function: Action) -> Action:
            if slug in self.actions:
                raise ValueError(f"{self.service}/{slug} is registered already")
            self.actions[slug] = function
            return function

        return register


def _slug(what: str, text: str) -> str:
    if not isinstance(text, str) or not _SLUG.fullmatch(text):
        raise ValueError(f'{what} is named by 1 to 63 of a-z, 0-9, "-" and "_", not {text!r}')
    return text
