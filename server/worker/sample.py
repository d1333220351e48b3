"""A complete worker to start from: the service of sample.yaml, made up out of nothing.

taskhouse catalogue apply sample.yaml
taskhouse work --module server.worker.sample:worker
"""

import zlib
from collections.abc import Iterator

from server.worker.kit import Result, Task, Worker

PIECE = 64 * 1024  # bytes

worker = Worker(service="sample")


@worker.action("list-messages")
def list_messages(task: Task) -> Result:
    """Return what is asked for, by kind. Whatever a task's parameters are, they are texts."""
    kinds = task.parameters["data"].split(",")
    since = task.parameters.get("since", "")
    return Result.json({kind: [{"device": task.parameters["device"], "since": since}] for kind in kinds})


@worker.action("download-file")
def download_file(task: Task) -> Result:
    """Return a file, piece by piece: it may be larger than memory."""
    return Result.bytes(_pieces(task), "application/octet-stream", filename=f"{task.parameters['file']}.bin")


def _pieces(task: Task) -> Iterator[bytes]:
    """Make up a file. Long work looks now and then whether anybody still wants it."""
    seed = zlib.crc32(task.parameters["file"].encode())
    for number in range(int(task.parameters["pieces"])):
        if task.cancelled:
            return
        yield bytes([(seed + number) % 256]) * PIECE
