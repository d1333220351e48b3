"""Every knob of the house, once: its name, type, unit, default and limit.

A command's own options come first, then TASKHOUSE_… in the environment, then DIR/config.toml (or `--config FILE`).
"""

import re
from collections.abc import Mapping
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationError, ValidationInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from server.store.address import DatabaseAddress, PostgresAddress


class BadSettings(Exception):
    """Settings are wrong; the text names each and says what is allowed."""


_ADDRESS = re.compile(r"(?:[^\s:\[\]]+|\[[0-9a-fA-F:.]+(?:%[^\s\]]+)?\]):([0-9]{1,5})")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_NAME = re.compile(r"[a-zA-Z0-9.-]{1,253}|[0-9a-fA-F:.]+")
OFF = "off"  # in place of an address: there is no such listener
_TEXTS = {
    "bool_parsing": "must be true or false",
    "extra_forbidden": "is no setting",
    "float_parsing": "must be a number",
    "greater_than_equal": "must be at least {ge:g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
"""What is told of a fault, by pydantic's name of its kind."""


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if not (found and 0 < int(found[1]) <= 65535):
        raise ValueError("must be HOST:PORT with a port from 1 to 65535, for example 127.0.0.1:8080 or [::1]:8080")
    return text


def _plain_listener(text: str) -> str:
    if text != OFF and not _is_loopback(split_address(_address(text))[0]):
        raise ValueError(
            f"must be a loopback address or off, not {text}: tokens would be sent to it in the clear; https is for"
            " other machines"
        )
    return text


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("must be the origin of a web page as browsers send it, for example https://app.example:8080")
    return text


def _public_url(text: str) -> str:
    text = text.removesuffix("/")
    if text and not _ORIGIN.fullmatch(text.lower()):
        raise ValueError("must be the beginning of all addresses, for example https://tasks.example or http://[::1]:80")
    return text


def _database(given: str | DatabaseAddress, info: ValidationInfo) -> DatabaseAddress:
    if isinstance(given, Path | PostgresAddress):
        return given
    return PostgresAddress.parse(str(given)) if given else info.data.get("data", Path()) / "taskhouse.db"


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be a host's name or address, for example taskhouse.example or 192.0.2.1")
    return text


def _several(given: object) -> object:
    return given.replace(",", " ").split() if isinstance(given, str) else given


Address = Annotated[str, AfterValidator(_address)]
PlainListener = Annotated[str, AfterValidator(_plain_listener)]
Database = Annotated[DatabaseAddress, PlainValidator(_database)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
# In the environment lists stand between commas, as people write them there.
Names = Annotated[tuple[Annotated[str, AfterValidator(_name)], ...], NoDecode, BeforeValidator(_several)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_several)]


class Settings(BaseSettings):
    """The settings, read and checked together."""

    model_config = SettingsConfigDict(env_prefix="TASKHOUSE_", frozen=True, extra="forbid")

    data: Path = Field(Path("data"), description="Folder of the database, the authority and the sockets.")
    database: Database = Field(
        "",
        validate_default=True,
        description="PostgreSQL database, as postgresql://USER:PASSWORD@HOST:PORT/NAME; empty: SQLite in `data`.",
    )
    http: PlainListener = Field(
        "127.0.0.1:8080",
        description="Plain listener on loopback, for trying things out: no client certificates. In production: off.",
    )
    https: Address = Field("127.0.0.1:8443", description="TLS listener; 0.0.0.0:8443 lets other machines in.")
    processes: int = Field(1, ge=1, le=64, description="Server processes.")
    https_names: Names = Field(
        (), description="Further names or addresses of this host, for the certificate that the house makes itself."
    )
    https_certificate: Path | None = Field(
        None, description="PEM file of a certificate with its chain, in place of the house's own; with https_key."
    )
    https_key: Path | None = Field(None, description="PEM file of that certificate's private key, without a password.")
    max_connections: int = Field(
        10_000, ge=10, le=1_000_000, description="Clients' connections at a time; more are closed at once."
    )
    web_origins: Origins = Field(
        (), description="Origins of the web pages whose scripts may call, as https://app.example; none: no page's."
    )
    envoy_concurrency: int = Field(1, ge=1, le=64, description="Envoy's worker threads.")
    envoy_heap_mb: int = Field(
        4096, ge=256, le=1_048_576, description="Envoy's memory, in MiB; near it calls are refused with 503."
    )
    reflection: bool = Field(default=True, description="Whether gRPC reflection is served.")
    drain_seconds: float = Field(20.0, ge=0, le=600, description="How long a stopping part waits for calls under way.")
    worker_capacity: int = Field(4, ge=1, le=1000, description="Tasks that the house's own worker does at a time.")
    results_days: float = Field(
        0, ge=0, le=36_500, description="How long results are kept after their task has ended; 0: for ever."
    )
    tasks_days: float = Field(
        0,
        ge=0,
        le=36_500,
        description="How long tasks that are over are kept, with their results and request ids; 0: for ever.",
    )
    logs_days: float = Field(30, ge=0, le=36_500, description="How long DIR/parts.log remembers a death; 0: for ever.")
    sweep_seconds: float = Field(60, ge=0.1, le=86_400, description="How often the house looks for what is too old.")
    api_key_authentication: bool = Field(
        default=True, description="Whether the monarc API needs keys; false only with listeners on loopback."
    )
    strict_filters: bool = Field(
        default=False, description="Whether the monarc API refuses filters on fields that it does not know."
    )
    rudder_deprecated: dict[Annotated[int, Field(ge=2, le=4)], date] = Field(
        {}, description='Versions of the rudder API that are deprecated, and since when, as {"2": "2026-01-31"}.'
    )
    public_url: PublicUrl = Field(
        "",
        description="What asapi's callers put before its paths, as https://tasks.example; empty: what each call has.",
    )
    stored_days: float = Field(
        30,
        ge=0,
        le=36_500,
        description="How long a result waits to be fetched once, or to be read by a listener; 0: for ever.",
    )
    max_result_mb: float = Field(
        2048,
        ge=1,
        le=1_048_576,
        description="How large the result of a task may be, in MiB, that is fetched or sent on a stream.",
    )
    max_unfinished_tasks: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="Tasks of an organization that wait or are being done; no more are taken.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read options first, then the environment, then the file."""
        del dotenv_settings, file_secret_settings
        file = settings_cls.model_config.get("toml_file")
        sources = (init_settings, env_settings)
        return (*sources, _File(settings_cls, file)) if file else sources


class _File(TomlConfigSettingsSource):
    """A settings file. As in the environment, names may be in upper case: one of them is documented so."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return {name.lower(): value for name, value in super()._read_file(file_path).items()}


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; an IPv6 host stands in brackets, which are taken off."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def load(config: Path | None = None, **options: object) -> Settings:
    """Read the settings; options that are None count as not given. Raises BadSettings with all faults together."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        data = Settings(**{"data": given["data"]} if "data" in given else {}).data  # type: ignore[arg-type]
        file = config or data / "config.toml"
        if config and not config.is_file():
            raise BadSettings(f"there is no settings file {config}")

        class FromFile(Settings):
            model_config = SettingsConfigDict(toml_file=file)

        settings = FromFile(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise BadSettings("; ".join(_told(**fault) for fault in error.errors())) from error
    except ValueError as error:  # TOML's own errors.
        raise BadSettings(f"{config or 'config.toml'}: {error}") from error
    if bool(settings.https_certificate) != bool(settings.https_key):
        raise BadSettings("https_certificate and https_key go together: give both or neither")
    if settings.http == settings.https:
        raise BadSettings(f"http and https must be different addresses, not both {settings.http}")
    if not settings.api_key_authentication and not _is_loopback(split_address(settings.https)[0]):
        raise BadSettings(f"api_key_authentication is off: https must be a loopback address, not {settings.https}")
    return settings


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # Some other name.
        return False


def _told(*, type: str, loc: tuple[int | str, ...], msg: str, ctx: Mapping[str, Any] | None = None, **_: Any) -> str:  # noqa: A002 - pydantic's names.
    text = _TEXTS[type].format(**ctx or {}) if type in _TEXTS else msg.replace("Input should be", "must be")
    return ": ".join([*(".".join(map(str, loc)),) * bool(loc), text])
