"""Who may call what: one table, read on every call. A method that is not in it is refused to everybody."""

from types import MappingProxyType

from server.core.caller import Role

PUBLIC = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/taskhouse.rest.v1.AircloakService/AnswerOther",
        "/taskhouse.rest.v1.AsapiResultService/AnswerOther",
        "/taskhouse.rest.v1.AsapiService/AnswerOther",
        "/taskhouse.rest.v1.HealthService/GetHealth",
        "/taskhouse.rest.v1.MonarcService/AnswerOther",
    }
)

_READ = frozenset({Role.TOKEN_READ, Role.TOKEN_WRITE, Role.TOKEN_ADMIN})
_WRITE = frozenset({Role.TOKEN_WRITE, Role.TOKEN_ADMIN})
_ADMIN = frozenset({Role.ADMIN, Role.TOKEN_ADMIN})
_OPERATE = frozenset({Role.OPERATOR})

_ASAPI = frozenset({Role.ASAPI_STORE, Role.ASAPI_CHANNEL})
_MONARC_ADMIN = frozenset({Role.MONARC_ADMIN})
_MONARC_WRITE = frozenset({Role.MONARC_WRITE, Role.MONARC_ADMIN})
_MONARC_READ = _MONARC_WRITE | {Role.MONARC_READ, Role.STRANGER}

_RUDDER_WRITE = frozenset({Role.RUDDER_WRITE})
_RUDDER_READ = frozenset({Role.RUDDER_READ, Role.RUDDER_WRITE})

PERMISSIONS = MappingProxyType(
    {
        "/taskhouse.rest.v1.AircloakService/BulkInsert": frozenset({Role.UPLOAD_ANY}),
        "/taskhouse.rest.v1.AircloakService/GetTaskResults": frozenset({Role.WEB_API}),
        "/taskhouse.rest.v1.AircloakService/Insert": frozenset({Role.UPLOAD_USER}),
        "/taskhouse.rest.v1.AircloakService/ListKeys": frozenset({Role.ADMIN, Role.WEB_API}),
        "/taskhouse.rest.v1.AsapiResultService/ConsumeResults": _ASAPI,
        "/taskhouse.rest.v1.AsapiResultService/FetchResult": _ASAPI,
        "/taskhouse.rest.v1.AsapiResultService/StreamResults": _ASAPI,
        "/taskhouse.rest.v1.AsapiService/DeregisterAccount": _ASAPI,
        "/taskhouse.rest.v1.AsapiService/DiscoverServices": _ASAPI,
        "/taskhouse.rest.v1.AsapiService/GetTaskStatuses": _ASAPI,
        "/taskhouse.rest.v1.AsapiService/RegisterAccount": _ASAPI,
        "/taskhouse.rest.v1.AsapiService/SubmitTask": _ASAPI,
        "/taskhouse.v1.AccountService/CreateAccount": _WRITE | {Role.ADMIN},
        "/taskhouse.v1.AccountService/DeleteAccount": _WRITE | {Role.ADMIN},
        "/taskhouse.v1.AccountService/GetAccount": _READ | {Role.ADMIN},
        "/taskhouse.v1.AccountService/ListAccounts": _READ | {Role.ADMIN},
        "/taskhouse.v1.CatalogueService/ApplyCatalogue": _OPERATE,
        "/taskhouse.v1.CatalogueService/GetCatalogue": _READ
        | {Role.ADMIN, Role.OPERATOR, Role.TASK_RUNNER, Role.WORKER},
        "/taskhouse.rest.v1.MonarcService/CreateOrganization": _MONARC_ADMIN | {Role.STRANGER},
        "/taskhouse.rest.v1.MonarcService/CreateStat": _MONARC_WRITE | {Role.STRANGER},
        "/taskhouse.rest.v1.MonarcService/DeleteStat": _MONARC_WRITE,
        "/taskhouse.rest.v1.MonarcService/GetOrganization": _MONARC_READ,
        "/taskhouse.rest.v1.MonarcService/GetStat": _MONARC_READ,
        "/taskhouse.rest.v1.MonarcService/ListOrganizations": _MONARC_READ,
        "/taskhouse.rest.v1.MonarcService/ListStats": _MONARC_READ,
        "/taskhouse.rest.v1.MonarcService/PurgeStats": _MONARC_ADMIN,
        "/taskhouse.rest.v1.MonarcService/UpdateStat": _MONARC_WRITE,
        "/taskhouse.v1.ChangeRequestService/AcceptChangeRequest": _WRITE | {Role.ADMIN},
        "/taskhouse.v1.ChangeRequestService/DeclineChangeRequest": _WRITE | {Role.ADMIN},
        "/taskhouse.v1.ChangeRequestService/GetChangeRequest": _READ | {Role.ADMIN},
        "/taskhouse.v1.ChangeRequestService/ListChangeRequests": _READ | {Role.ADMIN},
        "/taskhouse.v1.ChangeRequestService/UpdateChangeRequest": _WRITE | {Role.ADMIN},
        "/taskhouse.rest.v1.RudderService/AcceptChangeRequest": _RUDDER_WRITE,
        "/taskhouse.rest.v1.RudderService/AnswerOther": _RUDDER_READ,
        "/taskhouse.rest.v1.RudderService/CreateRule": _RUDDER_WRITE,
        "/taskhouse.rest.v1.RudderService/DeclineChangeRequest": _RUDDER_WRITE,
        "/taskhouse.rest.v1.RudderService/DeleteRule": _RUDDER_WRITE,
        "/taskhouse.rest.v1.RudderService/GetChangeRequest": _RUDDER_READ,
        "/taskhouse.rest.v1.RudderService/GetInfo": _RUDDER_READ,
        "/taskhouse.rest.v1.RudderService/GetRule": _RUDDER_READ,
        "/taskhouse.rest.v1.RudderService/ListChangeRequests": _RUDDER_READ,
        "/taskhouse.rest.v1.RudderService/ListRules": _RUDDER_READ,
        "/taskhouse.rest.v1.RudderService/UpdateChangeRequest": _RUDDER_WRITE,
        "/taskhouse.rest.v1.RudderService/UpdateRule": _RUDDER_WRITE,
        "/taskhouse.v1.CredentialService/CreateKey": _ADMIN | _OPERATE,
        "/taskhouse.v1.CredentialService/CreateToken": _ADMIN | _OPERATE,
        "/taskhouse.v1.CredentialService/GetCredential": _ADMIN | _OPERATE,
        "/taskhouse.v1.CredentialService/ListCredentials": _ADMIN | _OPERATE,
        "/taskhouse.v1.CredentialService/RevokeCredential": _ADMIN | _OPERATE,
        "/taskhouse.v1.DatasetService/CountUsers": _WRITE | {Role.WORKER},
        "/taskhouse.v1.DatasetService/CreateDataset": _ADMIN,
        "/taskhouse.v1.DatasetService/EraseUser": _ADMIN,
        "/taskhouse.v1.DatasetService/GetDataset": _READ | {Role.ADMIN},
        "/taskhouse.v1.DatasetService/GetUpload": _WRITE | {Role.UPLOAD_ANY},
        "/taskhouse.v1.DatasetService/ListDatasets": _READ | {Role.ADMIN},
        "/taskhouse.v1.DatasetService/SetBudget": _OPERATE,
        "/taskhouse.v1.DatasetService/Upload": _WRITE | {Role.UPLOAD_ANY},
        "/taskhouse.v1.EventService/ListEvents": _ADMIN | _OPERATE,
        "/taskhouse.v1.EventService/WatchEvents": _ADMIN | _OPERATE,
        "/taskhouse.v1.OrganizationService/CreateOrganization": _OPERATE,
        "/taskhouse.v1.OrganizationService/GetOrganization": _ADMIN | _OPERATE,
        "/taskhouse.v1.OrganizationService/ListOrganizations": _ADMIN | _OPERATE,
        "/taskhouse.v1.OrganizationService/UpdateOrganization": _ADMIN | _OPERATE,
        "/taskhouse.v1.ResultService/AcknowledgeResults": _WRITE | {Role.TASK_RUNNER},
        "/taskhouse.v1.ResultService/Download": _WRITE | {Role.TASK_RUNNER},
        "/taskhouse.v1.ResultService/GetResult": _READ | {Role.WEB_API},
        "/taskhouse.v1.ResultService/ListResults": _READ | {Role.WEB_API},
        "/taskhouse.v1.ResultService/Stream": _WRITE | {Role.TASK_RUNNER},
        "/taskhouse.v1.RuleService/CreateRule": _WRITE | {Role.ADMIN},
        "/taskhouse.v1.RuleService/DeleteRule": _WRITE | {Role.ADMIN},
        "/taskhouse.v1.RuleService/GetRule": _READ | {Role.ADMIN},
        "/taskhouse.v1.RuleService/ListRules": _READ | {Role.ADMIN},
        "/taskhouse.v1.RuleService/UpdateRule": _WRITE | {Role.ADMIN},
        "/taskhouse.v1.StatService/DeleteStat": _WRITE,
        "/taskhouse.v1.StatService/GetStat": _READ,
        "/taskhouse.v1.StatService/PurgeStats": frozenset({Role.TOKEN_ADMIN}),
        "/taskhouse.v1.StatService/Query": _READ,
        "/taskhouse.v1.StatService/UpdateStat": _WRITE,
        "/taskhouse.v1.StatService/Write": _WRITE,
        "/taskhouse.v1.TaskService/BatchCreateTasks": _WRITE | {Role.TASK_RUNNER},
        "/taskhouse.v1.TaskService/BatchGetTasks": _READ | {Role.TASK_RUNNER},
        "/taskhouse.v1.TaskService/CancelTask": _WRITE | {Role.TASK_RUNNER},
        "/taskhouse.v1.TaskService/CreateTask": _WRITE | {Role.TASK_RUNNER},
        "/taskhouse.v1.TaskService/GetTask": _READ | {Role.TASK_RUNNER},
        "/taskhouse.v1.TaskService/ListTasks": _READ | {Role.TASK_RUNNER},
        "/taskhouse.v1.TaskService/WatchTask": _READ | {Role.TASK_RUNNER},
        "/taskhouse.v1.WorkService/Work": frozenset({Role.WORKER}),
    }
)

_NOBODY: frozenset[Role] = frozenset()


def may_call(role: Role, method: str) -> bool:
    """Say whether a credential with this role may call the method (`/package.Service/Method`)."""
    return role in PERMISSIONS.get(method, _NOBODY)
