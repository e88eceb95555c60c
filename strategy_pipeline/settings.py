"""Typed settings: every environment variable of the project, its default, and the places that follow from it.

`.env` is read, the environment wins over it. Nothing is read at import, only `defs/` and the commands import this,
and a secret never appears in a message or a repr.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from strategy_pipeline.errors import PipelineError, SettingsError

if TYPE_CHECKING:
    import polars as pl

    from strategy_pipeline.market.symbols import Instrument
    from strategy_pipeline.scoring.rules import ScoringRules

PROJECT_ROOT = Path(__file__).resolve().parents[1]
OWN_WATCHLIST = PROJECT_ROOT / "config" / "watchlist.yaml"
SECRETS = (
    "massive_aws_access_key",
    "massive_aws_secret_key",
    "massive_api_key",
    "database_url",
    "dagster_postgres_url",
)
ADDRESSES = ("massive_s3_endpoint", "massive_base_url")
# What an entry of the watchlist may say.
ENTRY_KEYS = ("symbol", "asset_class", "proxy")
EXPECTED = {
    "strategy_home": "a folder, such as ./.strategy",
    "lake_url": "a folder or s3://bucket/prefix",
    "flat_files_url": "a folder in the vendor's layout or s3://bucket",
    "massive_aws_access_key": "the access key of the vendor's bucket",
    "massive_aws_secret_key": "the secret key of the vendor's bucket",
    "massive_s3_region": "an AWS region, such as us-east-1",
    "massive_s3_endpoint": "a URL that starts with https:// or http://, without a user, a password or a question mark",
    "massive_s3_bucket": "a bucket name, such as flatfiles",
    "massive_api_key": "the vendor's REST key",
    "massive_base_url": "a URL that starts with https:// or http://, without a user, a password or a question mark",
    "watchlist": "a YAML file with a list of symbols",
    "thresholds": "a YAML file with thresholds, such as config/thresholds.yaml",
    "database_url": "a URL that starts with postgresql://",
    "dagster_postgres_url": "a URL that starts with postgresql://",
    "log_level": "one of DEBUG, INFO, WARNING, ERROR",
}


class Settings(BaseSettings):
    """All settings with their defaults; field names are the environment variables in lower case."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    strategy_home: Path = Path(".strategy")
    lake_url: str | None = None
    flat_files_url: str | None = None
    massive_aws_access_key: SecretStr | None = None
    massive_aws_secret_key: SecretStr | None = None
    massive_s3_region: str = "us-east-1"
    massive_s3_endpoint: str = "https://files.massive.com"
    massive_s3_bucket: str = "flatfiles"
    massive_api_key: SecretStr | None = None
    massive_base_url: str = "https://api.massive.com"
    watchlist: Path = OWN_WATCHLIST
    thresholds: Path = PROJECT_ROOT / "config" / "thresholds.yaml"
    database_url: SecretStr | None = None
    dagster_postgres_url: SecretStr | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO")

    @field_validator("strategy_home", "watchlist", "thresholds")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("lake_url", "flat_files_url")
    @classmethod
    def _place(cls, value: str | None) -> str | None:
        if value is None or value.startswith("s3://"):
            if value is not None and not value.removeprefix("s3://").strip("/"):
                raise ValueError("no bucket")
            return value
        if "://" in value:
            raise ValueError("neither a folder nor s3://")
        return str(Path(value).expanduser().resolve())

    @field_validator(*ADDRESSES)
    @classmethod
    def _web_address(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("no web address")
        # Messages name the address, so nothing secret may stand in it.
        if _may_hold_a_secret(value):
            raise ValueError("more than an address")
        return value.rstrip("/")

    @field_validator("database_url", "dagster_postgres_url")
    @classmethod
    def _postgres_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(
            ("postgresql://", "postgresql+", "postgres://")
        ):
            raise ValueError("no PostgreSQL address")
        # Hosts hand out postgres://, which SQLAlchemy does not know.
        return value and SecretStr(re.sub("^postgres://", "postgresql://", value.get_secret_value()))

    @field_validator("massive_s3_bucket", "massive_s3_region")
    @classmethod
    def _word(cls, value: str) -> str:
        if not value.strip() or "/" in value or " " in value:
            raise ValueError("not one word")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def has_vendor_keys(self) -> bool:
        """Whether both keys of the vendor's bucket are set."""
        return self.massive_aws_access_key is not None and self.massive_aws_secret_key is not None

    @property
    def lake_location(self) -> str:
        """Where tables are written: LAKE_URL, else a folder below STRATEGY_HOME."""
        return self.lake_url or str(self.strategy_home / "lake")

    @property
    def vendor_folder(self) -> Path:
        """Where the demo writes its market."""
        return self.strategy_home / "vendor"

    @property
    def flat_files_location(self) -> str:
        """Where the vendor's files are read: FLAT_FILES_URL, else with keys the bucket, else the demo's market."""
        if self.flat_files_url:
            return self.flat_files_url
        return f"s3://{self.massive_s3_bucket}" if self.has_vendor_keys else str(self.vendor_folder)

    @property
    def are_files_synthetic(self) -> bool:
        """Whether the vendor's files are those of the demo's market."""
        return self.flat_files_location == str(self.vendor_folder)

    @property
    def source_of_files(self) -> str:
        """What rows from files name as their source."""
        return "synthetic" if self.are_files_synthetic else "flat_file"

    @property
    def raw_folder(self) -> Path:
        """Where the vendor's files are kept as published."""
        return self.strategy_home / "raw"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own folder: runs, events, schedules."""
        return self.strategy_home / "dagster"

    @property
    def reports_folder(self) -> Path:
        """Where reports go unless a command names a folder."""
        return self.strategy_home / "reports"


@dataclass(frozen=True, slots=True)
class Watchlist:
    """The watched instruments, in the order of the file, and those of which daily bars are kept for context only.

    What is context alone gives the market's regime its inputs; it has no features, is not tested and not scanned.
    """

    instruments: "tuple[Instrument, ...]"
    context: "tuple[Instrument, ...]" = ()

    @property
    def symbols(self) -> tuple[str, ...]:
        """Canonical symbols."""
        return tuple(one.symbol for one in self.instruments)

    def extended(self, symbols: "tuple[str, ...] | list[str]") -> "Watchlist":
        """The watchlist with further symbols, whose class is the default of the symbol."""
        from strategy_pipeline.market.symbols import instrument

        known = set(self.symbols)
        extra = dict.fromkeys(symbol for symbol in symbols if symbol not in known)
        return Watchlist((*self.instruments, *(instrument(symbol) for symbol in extra)), self.context)

    def frame(self) -> "pl.DataFrame":
        """symbol, asset_class, rvol_symbol: one row an instrument."""
        from strategy_pipeline.market.symbols import instruments_frame

        return instruments_frame(self.instruments)


class _FromMapping(PydanticBaseSettingsSource):
    """Settings from a given mapping of variables, as if it were the environment; without `.env`."""

    def __init__(self, settings: type[BaseSettings], variables: Mapping[str, str]) -> None:
        super().__init__(settings)
        self.variables = variables

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self.variables.get(field_name.upper()) or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.variables.get(name.upper()) for name in self.settings_cls.model_fields}
        return {name: value for name, value in values.items() if value}


def load_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment and `.env`, or from `variables` alone when given.

    Raises SettingsError that names the variable, the kind of its value and what was expected; secrets are not shown.
    """
    try:
        settings = Settings() if variables is None else _settings_of(variables)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None
    if (settings.massive_aws_access_key is None) != (settings.massive_aws_secret_key is None):
        missing = "SECRET" if settings.massive_aws_secret_key is None else "ACCESS"
        raise SettingsError(
            f"MASSIVE_AWS_{missing}_KEY is not set although its twin is: set both keys of the bucket, or neither."
        )
    return settings


def _settings_of(variables: Mapping[str, str]) -> Settings:
    class FromVariables(Settings):
        @classmethod
        def settings_customise_sources(cls, settings_cls: type[BaseSettings], **_: Any) -> tuple[Any, ...]:  # type: ignore[override]
            return (_FromMapping(settings_cls, variables),)

    return FromVariables()


def _may_hold_a_secret(address: str) -> bool:
    """Whether a web address has a place for a user and password, or for a key."""
    return "@" in address or "?" in address


def _sentence(error: ValidationError) -> str:
    parts = []
    for fault in error.errors(include_url=False):
        name = str(fault["loc"][0])
        value = fault.get("input")
        is_secret = name in SECRETS or (name in ADDRESSES and _may_hold_a_secret(str(value)))
        shown = "a value that is not shown" if is_secret else repr(value)
        kind = "text" if isinstance(value, str | SecretStr) else type(value).__name__
        parts.append(f"{name.upper()} is {shown} ({kind}): expected {EXPECTED[name]}")
    return "; ".join(parts) + "."


def set_dagster_environment(settings: Settings, home: str) -> None:
    """Tells Dagster in this process, and in those it starts, where its instance lies and what it stores in."""
    os.environ.update(dagster_environment(settings, home))


def dagster_environment(settings: Settings, home: str) -> dict[str, str]:
    """The variables that dagster.yaml and its storage refer to, whatever folder a process is started in."""
    variables = {"DAGSTER_HOME": home}
    if settings.dagster_postgres_url is not None:
        variables["DAGSTER_POSTGRES_URL"] = settings.dagster_postgres_url.get_secret_value()
    return variables


def environment_with(**variables: str) -> dict[str, str]:
    """The environment of this process with some variables set, for a process to start."""
    return {**os.environ, **variables}


def load_watchlist(path: Path) -> Watchlist:
    """The instruments of a watchlist file; raises SettingsError naming the file and the entry at fault.

    An entry is a symbol, or a mapping with symbol, asset_class and (for an index) proxy. A file without the key
    `context` has the context of the project's own watchlist, so that the market's regime has its inputs.
    """
    content = _read_yaml(path)
    entries = content.get("symbols") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise SettingsError(f"WATCHLIST {path} holds no list of symbols: expected a list below the key symbols.")
    watched = _instruments(path, entries)
    if isinstance(content, dict) and "context" in content:
        return Watchlist(watched, _instruments(path, _context_entries(path, content)))
    return Watchlist(watched, _instruments(OWN_WATCHLIST, _context_entries(OWN_WATCHLIST, _read_yaml(OWN_WATCHLIST))))


def _read_yaml(path: Path) -> Any:
    import yaml

    from strategy_pipeline.lake.files import read_text

    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, UnicodeDecodeError, PipelineError):
        raise SettingsError(f"WATCHLIST {path} cannot be read: expected {EXPECTED['watchlist']}.") from None


def _context_entries(path: Path, content: Mapping[str, Any]) -> list[Any]:
    entries = content["context"]
    if not isinstance(entries, list):
        raise SettingsError(f"WATCHLIST {path}: context is no list of symbols; write [] for none.")
    return entries


def _instruments(path: Path, entries: list[Any]) -> "tuple[Instrument, ...]":
    """The instruments of one list; each symbol may stand there once."""
    from strategy_pipeline.market.symbols import canonical_symbol, instrument

    found: dict[str, Instrument] = {}
    for entry in entries:
        fields = {"symbol": entry} if isinstance(entry, str) else entry
        if not isinstance(fields, dict) or not isinstance(fields.get("symbol"), str):
            raise SettingsError(
                f"WATCHLIST {path}: {entry!r} is no symbol; write it in quotes if YAML takes it for something else."
            )
        _refuse_unknown(path, entry, fields)
        try:
            proxy = fields.get("proxy") and canonical_symbol(fields["proxy"])
            one = instrument(fields["symbol"], fields.get("asset_class"), proxy)
        except PipelineError as error:
            raise SettingsError(f"WATCHLIST {path}: {error}") from None
        if one.symbol in found:
            raise SettingsError(f"WATCHLIST {path} names {one.symbol} twice: keep one entry.")
        found[one.symbol] = one
    return tuple(found.values())


def _refuse_unknown(path: Path, entry: object, fields: Mapping[Any, Any]) -> None:
    unknown = [str(key) for key in fields if key not in ENTRY_KEYS]
    if unknown:
        raise SettingsError(
            f"WATCHLIST {path}: {entry!r} has the unknown key {', '.join(unknown)}: use {', '.join(ENTRY_KEYS)}."
        )
    for key, value in fields.items():
        if not isinstance(value, str) or not value.strip():
            raise SettingsError(
                f"WATCHLIST {path}: {key} of {entry!r} is no text; write it in quotes, or leave it out."
            )


def load_thresholds(path: Path) -> "ScoringRules":
    """The rules of a thresholds file, with the package's own where it says nothing.

    Raises SettingsError naming the file and the entry at fault.
    """
    import yaml

    from strategy_pipeline.lake.files import read_text
    from strategy_pipeline.scoring.rules import rules_from

    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, UnicodeDecodeError, PipelineError):
        raise SettingsError(f"THRESHOLDS {path} cannot be read: expected {EXPECTED['thresholds']}.") from None
    if content is not None and not isinstance(content, dict):
        raise SettingsError(f"THRESHOLDS {path} holds no mapping: expected entries such as windows and class_floors.")
    try:
        return rules_from(content)
    except SettingsError as error:
        raise SettingsError(f"THRESHOLDS {path}: {error}") from None
