"""WorkService, spoken by a client that does nothing but answer: what the house can do, without the kit's threads.

python -m tests.bench.bare_worker CAPACITY DIR            over the socket of the house in DIR
python -m tests.bench.bare_worker CAPACITY DIR HOST:PORT KEY   over TLS, through the edge
"""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from server.cli.work import TOKEN_FILE
from server.sockets import existing
from server.worker.houses import House, SocketHouse, TlsHouse
from server.worker.ledger import MAX_REPORTS
from taskhouse.v1 import results_pb2, work_pb2_grpc
from taskhouse.v1 import work_pb2 as pb

LEASES_A_MESSAGE = MAX_REPORTS // 2  # Each lease is reported on twice: its result, and that it is done.
RENEW_SECONDS = 1.0
RESULT = pb.Publication(number=1, histogram=results_pb2.Histogram(buckets=[results_pb2.Bucket(label="done", count=5)]))


def work(house: House, capacity: int) -> None:
    """Complete every lease with one small result, in as few messages as there are at the moment."""
    leased: SimpleQueue[pb.Lease] = SimpleQueue()
    with house.open() as channel:
        stub = work_pb2_grpc.WorkServiceStub(channel)
        for response in stub.Work(messages(leased, capacity), metadata=house.metadata):
            kind = response.WhichOneof("message")
            if kind == "welcome":
                print("worker ready", flush=True)
            elif kind == "leases":
                for lease in response.leases.leases:
                    leased.put(lease)
            elif kind == "revocations" or any(one.refusal for one in response.acknowledgements.acknowledgements):
                raise RuntimeError(f"the house refuses: {response}")


def messages(leased: "SimpleQueue[pb.Lease]", capacity: int) -> Iterator[pb.WorkRequest]:
    """Yield what the worker says; gRPC asks for it in a thread of its own."""
    actions = [pb.ActionName(service="bench", action="nothing")]
    yield pb.WorkRequest(hello=pb.Hello(worker="bare", actions=actions, capacity=capacity))
    renewed = time.monotonic()
    while True:
        if some := taken(leased):
            yield pb.WorkRequest(reports=pb.Reports(reports=[report for lease in some for report in reports(lease)]))
        if time.monotonic() >= renewed + RENEW_SECONDS:
            renewed = time.monotonic()
            yield pb.WorkRequest(renewal=pb.Renewal())


def taken(leased: "SimpleQueue[pb.Lease]") -> list[pb.Lease]:
    """Return the leases that have come; wait for the first one, but not for ever."""
    some: list[pb.Lease] = []
    with suppress(Empty):
        some.append(leased.get(timeout=RENEW_SECONDS))
        while len(some) < LEASES_A_MESSAGE:
            some.append(leased.get_nowait())
    return some


def reports(lease: pb.Lease) -> tuple[pb.Report, pb.Report]:
    """Return what is said of a lease."""
    name = pb.LeaseName(task_id=lease.task_id, attempt=lease.attempt)
    return pb.Report(lease=name, publication=RESULT), pb.Report(lease=name, completion=pb.Completion())


if __name__ == "__main__":
    capacity, data, *remote = sys.argv[1:]
    folder = Path(data)
    if remote:
        host, _, port = remote[0].rpartition(":")
        way: House = TlsHouse(host, int(port), key=Path(remote[1]), ca=folder / "ca.pem")
    else:
        way = SocketHouse(lambda: existing(folder), (folder / TOKEN_FILE).read_text().strip())
    work(way, int(capacity))
