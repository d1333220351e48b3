"""DatasetService."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from weakref import WeakValueDictionary

from server.core import budgets, counts, datasets, uploading
from server.core.budgets import Budget
from server.core.caller import Caller
from server.core.columns import Column, ColumnType
from server.core.counts import Answer, Unanswered
from server.core.datasets import DEFAULT_BUCKETS_PER_USER, Dataset, Declaration
from server.core.errors import Fault, FaultKind, InvalidFields, TooManyQuestions
from server.core.questions import Asking
from server.core.uploading import Upload
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.services.uploading import Uploading
from server.store.engine import Store
from taskhouse.v1 import datasets_pb2 as pb
from taskhouse.v1 import datasets_pb2_grpc
from taskhouse.v1.results_pb2 import Bucket, ExceptionCount

MAX_QUESTIONS = 1000  # Of an organization, under way in one process.
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

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        """Take an event that ends the streams of uploads with UNAVAILABLE; they go on elsewhere."""
        self._store = store
        self._uploading = Uploading(store, stopping)
        self._counting = asyncio.Lock()  # One at a time, or counts would keep all other scans waiting.
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._under_way: dict[Unanswered, asyncio.Future[Answer]] = {}

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

    async def Upload(self, requests: AsyncIterator[pb.UploadRequest], context: Context) -> pb.Upload:  # noqa: ARG002, N802 - as generated.
        """Store a stream of rows."""
        return _upload_to_proto(await self._uploading.serve(requests, current_caller()))

    async def GetUpload(self, request: pb.GetUploadRequest, context: Context) -> pb.Upload:  # noqa: ARG002, N802 - as generated.
        """Return how far an upload has come."""
        upload = await self._store.read(uploading.get, caller=current_caller(), upload_id=request.upload_id)
        return _upload_to_proto(upload)

    async def EraseUser(self, request: pb.EraseUserRequest, context: Context) -> pb.Dataset:  # noqa: ARG002, N802 - as generated.
        """Erase a user's rows."""
        caller = current_caller()
        dataset = await erase_user(
            self._store, actor=caller, organization_id=caller.tenant, name=request.dataset, user_id=request.user
        )
        return dataset_to_proto(dataset)

    async def CountUsers(self, request: pb.CountUsersRequest, context: Context) -> pb.CountUsersResponse:  # noqa: ARG002, N802 - as generated.
        """Return anonymised counts."""
        lease = (request.lease.task_id, request.lease.attempt) if request.HasField("lease") else None
        asking = Asking(request.dataset, request.column, request.bin_width, request.categories, request.where)
        asked = await self._store.read(datasets.ask, caller=current_caller(), lease=lease, asking=asking)
        answer = await self._answer(asked) if isinstance(asked, Unanswered) else asked
        return pb.CountUsersResponse(
            buckets=(Bucket(label=answer.label, value=value, count=users) for value, users in answer.buckets),
            exceptions=(ExceptionCount(error=error, count=users) for error, users in answer.exceptions),
            epsilon=answer.cost.epsilon,
            delta=answer.cost.delta,
        )

    async def _answer(self, unanswered: Unanswered) -> Answer:
        """Return the answer. Counting goes on if its caller does not wait: whoever asks again finds it.

        Raises TooManyQuestions, and what `counts` does.
        """
        counting = self._under_way.get(unanswered)
        if counting is None:
            asked = sum(one.organization_id == unanswered.organization_id for one in self._under_way)
            if asked >= MAX_QUESTIONS:
                raise TooManyQuestions
            counting = self._under_way[unanswered] = asyncio.ensure_future(self._count(unanswered))
            counting.add_done_callback(partial(self._counted, unanswered))
        return await asyncio.shield(counting)

    async def _count(self, unanswered: Unanswered) -> Answer:
        # An organization's questions wait for each other first, so that another's waits for one of them at most.
        turn = self._turns.setdefault(unanswered.organization_id, asyncio.Lock())
        async with turn, self._counting:
            counted = await self._store.scan(counts.count, unanswered=unanswered)
            if isinstance(counted, Answer):
                return counted
            drawn = await asyncio.to_thread(counts.anonymise, counted)
            return await self._store.write(counts.keep, drawn=drawn)

    def _counted(self, unanswered: Unanswered, counting: "asyncio.Future[Answer]") -> None:
        del self._under_way[unanswered]
        if not counting.cancelled():
            counting.exception()  # Told to those who wait; if nobody does, there is nobody to tell.

    async def SetBudget(self, request: pb.SetBudgetRequest, context: Context) -> pb.Budget:  # noqa: ARG002, N802 - as generated.
        """Set what a dataset may spend."""
        if not request.HasField("epsilon"):
            raise InvalidFields((Fault("epsilon", "is required", FaultKind.MISSING),))
        return budget_to_proto(
            await self._store.write(
                budgets.set_budget,
                caller=current_caller(),
                organization=request.organization,
                dataset=request.dataset,
                epsilon=request.epsilon,
            )
        )


async def erase_user(store: Store, *, actor: Caller, organization_id: int, name: str, user_id: str) -> Dataset:
    """Erase a user's rows, in as many transactions as it takes, and return the dataset.

    Raises InvalidFields, DatasetNotFound.
    """
    erased, goes_on = None, False
    while erased is None:
        erased = await store.write(
            datasets.erase_user,
            actor=actor,
            organization_id=organization_id,
            name=name,
            user_id=user_id,
            goes_on=goes_on,
        )
        goes_on = True
    await store.wipe()
    return erased


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
        budget=budget_to_proto(dataset.budget),
    )


def budget_to_proto(budget: Budget) -> pb.Budget:
    """Render a budget."""
    return pb.Budget(epsilon=budget.epsilon, spent_epsilon=budget.spent.epsilon, spent_delta=budget.spent.delta)


def _upload_to_proto(upload: Upload) -> pb.Upload:
    return pb.Upload(
        id=upload.id,
        dataset=upload.dataset,
        acknowledged_rows=upload.acknowledged_rows,
        create_time=timestamp(upload.create_time),
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
