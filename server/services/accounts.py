"""AccountService."""

from server.core import accounts
from server.core.accounts import Account
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.store.engine import Store
from taskhouse.v1 import accounts_pb2 as pb
from taskhouse.v1 import accounts_pb2_grpc


class AccountServicer(accounts_pb2_grpc.AccountServiceServicer):
    """Serves accounts to their organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateAccount(self, request: pb.CreateAccountRequest, context: Context) -> pb.Account:  # noqa: ARG002, N802 - as generated.
        """Register an account."""
        given = request.account
        account = await self._store.write(
            accounts.register, caller=current_caller(), service=given.service, username=given.username
        )
        return account_to_proto(account)

    async def GetAccount(self, request: pb.GetAccountRequest, context: Context) -> pb.Account:  # noqa: ARG002, N802 - as generated.
        """Return one account."""
        found = await self._store.read(accounts.get, caller=current_caller(), account_id=request.account_id)
        return account_to_proto(found)

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Context) -> pb.ListAccountsResponse:  # noqa: ARG002, N802 - as generated.
        """Return a page of accounts."""
        page = await self._store.read(
            accounts.page, caller=current_caller(), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListAccountsResponse(accounts=map(account_to_proto, page.items), next_page_token=page.next_page_token)

    async def DeleteAccount(self, request: pb.DeleteAccountRequest, context: Context) -> pb.DeleteAccountResponse:  # noqa: ARG002, N802 - as generated.
        """Deregister an account."""
        await self._store.write(accounts.deregister, caller=current_caller(), account_id=request.account_id)
        return pb.DeleteAccountResponse()


def account_to_proto(account: Account) -> pb.Account:
    """Render an account."""
    return pb.Account(
        id=account.id,
        service=account.service,
        username=account.username,
        create_time=timestamp(account.create_time),
    )
