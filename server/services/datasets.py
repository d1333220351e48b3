"""DatasetService."""

import asyncio
from weakref import WeakValueDictionary

from server.core import datasets
from server.core.columns import Column, ColumnType
from server.core.counts import Drawn
from server.core.datasets import DEFAULT_BUCKETS_PER_USER, Dataset, Declaration
from server.core.errors import Fault, InvalidFields
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.store.engine import Store
from taskhouse.v1 import datasets_pb2 as pb
from taskhouse.v1 import datasets_pb2_grpc
from taskhouse.v1.results_pb2 import Bucket

_TYPES = {
    pb.COLUMN_TYPE_INTEGER: ColumnType.INTEGER,
    pb.COLUMN_TYPE_BIGINT: ColumnType.BIGINT,
    pb.COLUMN_TYPE_FLOAT: ColumnType.FLOAT,
    pb.COLUMN_TYPE_DOUBLE: ColumnType.DOUBLE,
    pb.COLUMN_TYPE_BOOLEAN: ColumnType.BOOLEAN,
    pb.COLUMN_TYPE_TEXT: ColumnType.TEXT,
}
_TYPES_TO_PROTO = {type_: number for number, type_ in _TYPES.items()}


class DatasetServicer(datasets_pb2_grpc.DatasetServiceServicer):
    """Serves datasets to their organization, and counts of them to its workers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counting = asyncio.Lock()  # One at a time, or counts would keep all other scans waiting.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def CreateDataset(self, request: pb.CreateDatasetRequest, context: Context) -> pb.Dataset:  # noqa: ARG002, N802 - as generated.
        """Declare a dataset."""
        declaration = _declaration(request.dataset)
        return dataset_to_proto(
            await self._store.write(datasets.create, caller=current_caller(), declaration=declaration)
        )

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.Dataset:  # noqa: ARG002, N802 - as generated.
        """Return one declaration."""
        return dataset_to_proto(await self._store.read(datasets.get, caller=current_caller(), name=request.dataset))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:  # noqa: ARG002, N802 - as generated.
        """Return a page of declarations."""
        page = await self._store.scan(
            datasets.page, caller=current_caller(), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListDatasetsResponse(datasets=map(dataset_to_proto, page.items), next_page_token=page.next_page_token)

    async def CountUsers(self, request: pb.CountUsersRequest, context: Context) -> pb.CountUsersResponse:  # noqa: ARG002, N802 - as generated.
        """Return anonymised counts."""
        caller = current_caller()
        lease = (request.lease.task_id, request.lease.attempt) if request.HasField("lease") else None
        asked = {"dataset": request.dataset, "column": request.column, "bin_width": request.bin_width}
        answer = await self._store.read(datasets.kept_count, caller=caller, lease=lease, **asked)
        if answer is None:
            # An organization's questions wait for each other first, so that another's waits for one of them at most.
            turn = self._turns.setdefault(caller.organization or request.dataset, asyncio.Lock())
            async with turn, self._counting:
                counted = await self._store.scan(datasets.count_users, caller=caller, lease=lease, **asked)
                answer = (
                    await self._store.write(datasets.keep_count, caller=caller, lease=lease, drawn=counted)
                    if isinstance(counted, Drawn)
                    else counted
                )
        buckets = (Bucket(label=answer.label, value=edge, count=users) for edge, users in answer.buckets)
        return pb.CountUsersResponse(buckets=buckets, epsilon=answer.cost.epsilon, delta=answer.cost.delta)


def dataset_to_proto(dataset: Dataset) -> pb.Dataset:
    """Render a declaration."""
    return pb.Dataset(
        name=dataset.name,
        columns=(
            pb.Column(name=column.name, type=_TYPES_TO_PROTO[column.type], nullable=column.nullable)
            for column in dataset.columns
        ),
        buckets_per_user=dataset.buckets_per_user,
        version=dataset.version,
        create_time=timestamp(dataset.create_time),
    )


def _declaration(dataset: pb.Dataset) -> Declaration:
    """Read a declaration. Raises InvalidFields, with all faults together."""
    columns, faults = [], []
    for number, column in enumerate(dataset.columns):
        if column.type not in _TYPES:
            faults.append(Fault(f"dataset.columns[{number}].type", f"must be one of {', '.join(ColumnType)}"))
        columns.append(Column(column.name, _TYPES.get(column.type, ColumnType.TEXT), column.nullable))
    declaration = Declaration(dataset.name, tuple(columns), dataset.buckets_per_user or DEFAULT_BUCKETS_PER_USER)
    if faults:
        faults += (Fault(f"dataset.{one.field}", one.description) for one in datasets.faults_of(declaration))
        raise InvalidFields(tuple(faults))
    return declaration
