"""config.yaml + config.local.yaml + DSDC_* variables -> one frozen, typed `Settings`; .secrets -> `Secrets`.

Later sources win: config.yaml, config.local.yaml, environment. An unknown key in any of them is an error.
"""

from __future__ import annotations

import os
import re
import secrets as random
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from cryptography.fernet import Fernet
from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL, make_url

from dsdc.errors import SecretsError, SettingsError
from dsdc.sources import PREFIX, Files, Variables, refuse_misspelt

MARKER = ".dsdc_project_root"
DatabaseRole = Literal["owner", "pipeline", "serve", "auth", "exporter", "airflow", "mlflow"]


def project_root() -> Path:
    """The folder that holds `.dsdc_project_root`: `DSDC_DIR`, or the first one found upwards.

    Raises:
        SettingsError: when there is none.
    """
    named = os.environ.get("DSDC_DIR")
    if named:
        root = Path(named).resolve()
        if not (root / MARKER).is_file():
            raise SettingsError(f"DSDC_DIR={named} holds no {MARKER}.", hint="Point it at the project's folder.")
        return root
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / MARKER).is_file():
                return folder
    raise SettingsError(f"No {MARKER} here or above.", hint="Run inside the project, or set DSDC_DIR.")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


#: Where a service is found; empty: where it listens.
Url = Annotated[str, Field(validate_default=True)]


def local_url(host: str, port: int) -> str:
    """Where programs of this machine find a server that listens on `host`, which may stand for every address."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _own_address(given: str, others: ValidationInfo) -> str:
    """`given`, or where the section's server listens. What is wrong with host or port is told of them."""
    known = others.data
    return given or (local_url(known["host"], known["port"]) if {"host", "port"} <= known.keys() else "")


class Database(Section):
    url: str = ""
    port: int = 15432
    name: str = Field("dsdc", pattern=r"^[a-z][a-z0-9_]{0,30}$")
    pool_size: int = Field(5, ge=1)
    statement_timeout_s: int = Field(120, ge=1)
    patience_s: float = Field(60, ge=0)
    least_privilege: bool = True

    @property
    def embedded(self) -> bool:
        """Whether the platform runs its own server."""
        return not self.url


class Paths(Section):
    to_ingest: Path = Path("data/to_ingest")
    raw: Path = Path("data/raw")
    processed: Path = Path("data/processed")
    uploads: Path = Path("data/uploads")
    rejected: Path = Path("data/rejected")
    models: Path = Path("models")
    logs: Path = Path("logs")


class StorageSettings(Section):
    url: str = ""
    endpoint: str = ""


class Ingest(Section):
    quiet_s: float = Field(2.0, ge=0)
    max_file_mb: int = Field(512, ge=1)
    batch: int = Field(64, ge=1)


class Render(Section):
    dpi: int = Field(200, ge=50, le=600)
    max_pages: int = Field(10_000, ge=1)
    max_pixels: int = Field(100_000_000, ge=10_000)
    max_side: int = Field(3500, ge=224)


class Parsing(Section):
    processes: int = Field(0, ge=0)
    memory_mb: int = Field(3072, ge=512)
    page_cpu_s: int = Field(60, ge=1)
    page_wall_s: int = Field(300, ge=1)
    recycle_pages: int = Field(1000, ge=1)

    @property
    def at_once(self) -> int:
        """Child processes at work at the same time."""
        return self.processes or os.cpu_count() or 1


class Ocr(Section):
    engine: Literal["auto", "rapidocr", "tesseract"] = "auto"
    languages: str = Field("eng", pattern=r"^[A-Za-z_]+(\+[A-Za-z_]+)*$")
    page_segmentation: int = Field(3, ge=0, le=13)
    timeout_s: int = Field(120, ge=1)
    orientation: bool = True
    deskew: bool = True
    min_layer_chars: int = Field(16, ge=0)
    min_layer_printable: float = Field(0.85, ge=0, le=1)


class Clip(Section):
    model: str = "dsdc-lite"
    pretrained: str = ""
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: int = Field(32, ge=1)
    max_text_windows: int = Field(16, ge=1)


class ProcessorVersions(Section):
    """The version of each stage's processor; empty: the one that the registry names as its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)  # YAML reads 1 as a number

    unpack: str = ""
    render: str = ""
    text: str = ""
    clean: str = ""
    embed: str = ""


class Pipeline(Section):
    claim_batch: int = Field(16, ge=1)
    claim_lease_s: int = Field(60, ge=2)
    max_attempts: int = Field(3, ge=1)
    max_crashes: int = Field(10, ge=2)
    drain_s: float = Field(10, ge=0)
    backoff_s: float = Field(30, ge=0)
    workers: int = Field(1, ge=1)
    worker_name: str = ""


class Retention(Section):
    days: int | None = Field(None, ge=1)
    labelled: bool = False


class Train(Section):
    experiment: str = "dsdc"
    model_name: str = "dsdc-head"
    method: Literal["auto", "head", "neighbours", "zero-shot"] = "auto"
    seed: int = 20260101
    folds: int = Field(5, ge=2, le=20)
    epochs: int = Field(60, ge=1)
    batch: int = Field(64, ge=8)
    learning_rate: float = Field(0.002, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    hidden: int = Field(256, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    modality_dropout: float = Field(0.2, ge=0, lt=0.5)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    members: int = Field(3, ge=1, le=20)
    ngrams: int = Field(20_000, ge=10)
    topics: int = Field(300, ge=1)
    judge_c: float = Field(10.0, gt=0)
    min_per_class: int = Field(4, ge=2)


#: `auto`: a document's text is left unread where its images are enough.
CascadeMode = Literal["off", "auto"]


class Predict(Section):
    host: str = "127.0.0.1"
    port: int = 8000
    review_budget: float = Field(0.15, ge=0, lt=1)
    coverage: float = Field(0.9, gt=0, lt=1)
    top: int = Field(5, ge=1)
    neighbours: int = Field(5, ge=0)
    max_upload_mb: int = Field(50, ge=1)
    max_pages: int = Field(200, ge=1)
    workers: int = Field(2, ge=1)
    queue: int = Field(32, ge=0)
    cascade: CascadeMode = "off"
    micro_batch: Literal["off", "on", "auto"] = "auto"
    micro_batch_wait_ms: float = Field(3, ge=0, le=100)
    batch_max_files: int = Field(500, ge=1)
    batch_max_mb: int = Field(500, ge=1)
    batch_max_waiting: int = Field(10_000, ge=1)
    batch_uploads: int = Field(4, ge=1)
    batch_attempts: int = Field(5, ge=1)
    batch_poll_s: float = Field(2.0, gt=0)
    idempotency_hours: float = Field(24, gt=0)

    @field_validator("cascade", "micro_batch", mode="before")
    @classmethod
    def _no_boolean(cls, given: object) -> object:
        """YAML reads a bare `off` as false and `on` as true."""
        return {False: "off", True: "on"}[given] if isinstance(given, bool) else given


class Auth(Section):
    host: str = "127.0.0.1"
    port: int = 8001
    url: Url = ""
    issuer: str = "dsdc-auth"
    audience: str = "dsdc"
    access_minutes: int = Field(15, ge=1, le=60)
    refresh_days: int = Field(7, ge=1)
    leeway_s: int = Field(10, ge=0, le=30)
    max_failures: int = Field(5, ge=1)
    failure_window_s: int = Field(300, ge=1)

    _follows_port = field_validator("url")(_own_address)


class Web(Section):
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()

    @field_validator("trusted_proxies")
    @classmethod
    def _not_everybody(cls, networks: tuple[IPvAnyNetwork, ...]) -> tuple[IPvAnyNetwork, ...]:
        if any(network.prefixlen == 0 for network in networks):
            raise ValueError("a network of all addresses lets anybody name any address as theirs")
        return networks


class Mlflow(Section):
    host: str = "127.0.0.1"
    port: int = 5000
    uri: Url = ""

    _follows_port = field_validator("uri")(_own_address)


class Airflow(Section):
    host: str = "127.0.0.1"
    port: int = 8080
    url: Url = ""
    openlineage: str = Field("file", pattern=r"^(off|file|https?://[^@\s]+)$")

    _follows_port = field_validator("url")(_own_address)

    @field_validator("openlineage", mode="before")
    @classmethod
    def _no_boolean(cls, given: object) -> object:
        """YAML reads a bare `off` as false."""
        return "off" if given is False else given


class Streamlit(Section):
    host: str = "127.0.0.1"
    port: int = 8501
    predict_url: str = ""


class Monitoring(Section):
    prometheus_port: int = 9090
    alertmanager_port: int = 9093
    grafana_port: int = 3000
    postgres_exporter_port: int = 9187
    pipeline_port: int = 9102
    blackbox_port: int = 9115


class Logging(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


Prompt = Annotated[str, Field(pattern=r"\S")]


class ClassEntry(Section):
    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    name: str = Field(min_length=1, max_length=80)
    prompts: tuple[Prompt, ...] = ()


class TaxonomySettings(Section):
    name: str
    prompts: tuple[Prompt, ...] = Field(("{}",), min_length=1)
    classes: tuple[ClassEntry, ...]

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[ClassEntry, ...]) -> tuple[ClassEntry, ...]:
        if len({c.slug for c in classes}) != len(classes):
            raise ValueError("two classes have one slug")
        if len(classes) < 2:
            raise ValueError("at least two classes are needed")
        return classes


class Settings(BaseSettings):
    """Every non-secret setting. Frozen; get it from `settings()`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
    )

    root: Path
    database: Database = Database()
    paths: Paths = Paths()
    storage: StorageSettings = StorageSettings()
    ingest: Ingest = Ingest()
    render: Render = Render()
    parsing: Parsing = Parsing()
    ocr: Ocr = Ocr()
    clip: Clip = Clip()
    processors: ProcessorVersions = ProcessorVersions()
    pipeline: Pipeline = Pipeline()
    retention: Retention = Retention()
    train: Train = Train()
    predict: Predict = Predict()
    auth: Auth = Auth()
    web: Web = Web()
    mlflow: Mlflow = Mlflow()
    airflow: Airflow = Airflow()
    streamlit: Streamlit = Streamlit()
    monitoring: Monitoring = Monitoring()
    logging: Logging = Logging()
    taxonomy: TaxonomySettings

    @field_validator("streamlit")
    @classmethod
    def _finds_predict(cls, streamlit: Streamlit, others: ValidationInfo) -> Streamlit:
        predict = others.data.get("predict")
        if streamlit.predict_url or predict is None:
            return streamlit
        return streamlit.model_copy(update={"predict_url": local_url(predict.host, predict.port)})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        root = project_root()
        files = [root / "config.yaml", root / "config.local.yaml"]
        return (init_settings, Variables(settings_cls), Files(settings_cls, files, deep_merge=True))

    def path(self, name: Literal["to_ingest", "raw", "processed", "uploads", "rejected", "models", "logs"]) -> Path:
        """Absolute path of one of the folders under `paths`."""
        folder = getattr(self.paths, name)
        return folder if folder.is_absolute() else self.root / folder

    def database_url(self, role: DatabaseRole = "owner") -> URL:
        """SQLAlchemy URL for one of the platform's database users.

        With `least_privilege`, each role has a user of its own named `<database>_<role>`, whose password is in
        `.secrets`; `airflow` and `mlflow` also have databases of their own, `<database>_airflow` and
        `<database>_mlflow`.
        """
        base = self.owner_url()
        name = base.database or self.database.name
        if role in ("airflow", "mlflow"):
            base = base.set(database=f"{name}_{role}")
        if role == "owner" or not self.database.least_privilege:
            return base
        password = secrets().value(f"database_{role}")
        return base.set(username=f"{name}_{role}", password=password)

    def owner_url(self) -> URL:
        if self.database.embedded:
            return URL.create(
                "postgresql+psycopg2",
                username=f"{self.database.name}_owner",
                password=secrets().value("database_owner"),
                host="127.0.0.1",
                port=self.database.port,
                database=self.database.name,
            )
        try:
            url = make_url(self.database.url)
        except Exception as error:  # sqlalchemy raises ArgumentError, and ValueError for a bad port
            raise SettingsError(
                "database.url (DSDC_DATABASE_URL) is not a database URL.",
                hint="Write postgresql://user:password@host:5432/name.",
            ) from error
        if url.get_backend_name() not in ("postgresql", "postgres"):
            raise SettingsError("database.url must name a PostgreSQL server.", hint="postgresql://…")
        return url.set(drivername="postgresql+psycopg2", database=url.database or self.database.name)


MIN_SECRET = 20
_PLACEHOLDERS = re.compile(r"generate|change.?me|placeholder|password|secret|example|todo", re.IGNORECASE)


class Secrets(BaseModel):
    """Values of `.secrets`, each at least 20 characters and no placeholder."""

    model_config = ConfigDict(frozen=True)
    values: dict[str, SecretStr]

    def value(self, name: str) -> str:
        """The secret `DSDC_SECRET_<NAME>`; `name` in lower case.

        Raises:
            SecretsError: when it is missing.
        """
        try:
            return self.values[name].get_secret_value()
        except KeyError:
            raise SecretsError(
                f"DSDC_SECRET_{name.upper()} is missing from .secrets.", hint="Run ./scripts/prepare.sh."
            ) from None

    @classmethod
    def check(cls, raw: dict[str, str]) -> Secrets:
        """Refuse what is short or a placeholder; the message names the key, never the value."""
        values = {}
        for key, value in raw.items():
            if not key.startswith("DSDC_SECRET_"):
                raise SecretsError(f"Unknown key {key} in .secrets.", hint="Keys begin with DSDC_SECRET_.")
            if len(value) < MIN_SECRET or _PLACEHOLDERS.search(value) or len(set(value)) < 8:
                raise SecretsError(
                    f"{key} in .secrets is a placeholder or too short.",
                    hint=f"Use {MIN_SECRET}+ random characters, or delete the line and run ./scripts/prepare.sh.",
                )
            values[key.removeprefix("DSDC_SECRET_").lower()] = SecretStr(value)
        return cls(values=values)


def write_secrets(root: Path) -> list[str]:
    """Fill `.secrets` (0600) with a strong value for every key of the template that it lacks.

    Returns the keys that were added. Existing values are kept.
    """
    template = dotenv_values(root / ".secrets.template")
    target = root / ".secrets"
    have = dotenv_values(target) if target.exists() else {}
    added = [key for key in template if key not in have]
    if added:
        lines = [f"{key}={value}" for key, value in have.items()]
        lines += [f"{key}={_generate(template[key] or '')}" for key in added]
        # Written beside and renamed, so that an interrupted run leaves the old file or the new one.
        draft = target.with_name(".secrets.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")
        draft.replace(target)
    target.chmod(0o600)
    return added


def _generate(kind: str) -> str:
    while _PLACEHOLDERS.search(value := _random_value(kind)):
        pass  # one in some twenty thousand spells a placeholder word, of which the shortest has four letters
    return value


def _random_value(kind: str) -> str:
    return Fernet.generate_key().decode() if kind == "GENERATE_FERNET" else random.token_urlsafe(32)


def _sections() -> dict[str, list[str]]:
    kinds = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        name: list(kind.model_fields)
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Section)
    }


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings, read once.

    Raises:
        SettingsError: naming each bad key and where it may be set.
    """
    root = project_root()
    refuse_misspelt(os.environ, _sections())
    try:
        return Settings(root=root)  # the taxonomy comes from config.yaml
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(
            f"The configuration is not valid: {lines}.", hint="See config.yaml, config.local.yaml and DSDC_* variables."
        ) from None


@lru_cache(maxsize=1)
def secrets() -> Secrets:
    """The process's secrets: `.secrets`, over which DSDC_SECRET_* variables win.

    Raises:
        SecretsError: when the file is missing or a value is weak.
    """
    file = project_root() / ".secrets"
    raw = {k: v or "" for k, v in dotenv_values(file).items()} if file.exists() else {}
    raw |= {k: v for k, v in os.environ.items() if k.startswith("DSDC_SECRET_")}
    if not raw:
        raise SecretsError("There is no .secrets file.", hint="Run ./scripts/prepare.sh; it writes one.")
    return Secrets.check(raw)
