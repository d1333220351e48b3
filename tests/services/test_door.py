import pytest
from google.rpc import error_details_pb2

from server.core import errors
from server.core.errors import Fault, InvalidFields, Refusal
from server.rest import aircloak
from server.services.door import STATUSES, status_of
from taskhouse.v1.errors_pb2 import ErrorReason

UNTYPED = {
    errors.CredentialTaken,  # No typed rpc takes a token that its caller made up,
    errors.ChangeRequestUnchanged,  # minds if nothing changes,
    errors.ListTooLong,  # or lists everything at once.
}


def refusals() -> set[type[Refusal]]:
    """What verbs raise: the documented doors have refusals of their own, which never come here."""
    return {kind for kind in Refusal.__subclasses__() if kind.__module__.startswith("server.core.")} - UNTYPED


def test_every_refusal_has_its_status_at_the_typed_door() -> None:
    assert refusals() - set(STATUSES) == set()


def test_every_reason_is_given_for_something() -> None:
    given = {reason for _, reason in STATUSES.values()}
    others = {ErrorReason.ERROR_REASON_UNSPECIFIED, ErrorReason.ERROR_REASON_INTERNAL}
    assert set(ErrorReason.values()) == given | others


def test_what_the_aircloak_door_does_not_know_is_told_as_a_fault_of_the_house() -> None:
    known = {kind for kind in aircloak.STATUSES if issubclass(kind, Refusal)}
    reachable = {
        errors.CredentialMissing, errors.CredentialUnknown, errors.InvalidFields, errors.NotPermitted,
        errors.NotServed, errors.PathFieldOverridden, errors.TaskNotFound, errors.TooLarge, errors.UndecodableRequest,
    }  # fmt: skip
    assert reachable <= known


@pytest.mark.parametrize("count", [1, 60, 5000])
def test_many_and_long_faults_fit_and_it_is_said_how_many_there_are(count: int) -> None:
    faults = tuple(Fault(f"field[{n}]" * 50, "ü%" * 1000) for n in range(count))
    status = status_of(InvalidFields(faults), request_id="r")
    assert status.ByteSize() < 5000
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    *told, last = bad.field_violations
    if count == 1:
        assert last.field.startswith("field[0]")
    else:
        assert last.description == f"and {count - len(told)} more faults"
        assert status.message.startswith(f"{count} faults")
