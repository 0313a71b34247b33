"""Settings come from three places, and nothing unknown or weak gets in."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from dsdc.errors import SecretsError, SettingsError
from dsdc.settings import Secrets, Settings, project_root, secrets, settings, write_secrets
from tests.projects import ROOT, forget_settings


def test_later_sources_win(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().render.dpi == 200
    (project / "config.local.yaml").write_text("render: {dpi: 150}\nclip: {batch: 8}\n")
    forget_settings()
    assert (settings().render.dpi, settings().clip.batch, settings().clip.model) == (150, 8, "dsdc-lite")
    monkeypatch.setenv("DSDC_RENDER_DPI", "300")
    forget_settings()
    assert settings().render.dpi == 300


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("render: {dpy: 150}\n", "render.dpy"),
        ("rendering: {dpi: 150}\n", "rendering"),
        ("render: {dpi: 5}\n", "render.dpi"),
        ("taxonomy: {classes: [{slug: a, name: A}, {slug: a, name: B}]}\n", "taxonomy.classes"),
        ("train: {folds: 1}\n", "train.folds"),
    ],
)
def test_a_bad_key_is_named(project: Path, text: str, named: str) -> None:
    (project / "config.local.yaml").write_text(text)
    forget_settings()
    with pytest.raises(SettingsError, match=named):
        settings()


def test_an_unknown_variable_of_a_known_section_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_CLIP_MODLE", "ViT-B-32")
    forget_settings()
    with pytest.raises(SettingsError, match=r"clip\.modle"):
        settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"render:\n\tdpi: 150\n", "line 2"),
        (b"render: {dpi: 150\n", "not YAML"),
        (b"- render\n", "holds no sections"),
        (b"render\n", "holds no sections"),
        (b"1: {dpi: 150}\n", "holds no sections"),
        (b"render: {dpi: '\xe4'}\n", "UTF-8"),
        (b"render: {dpi: \x00}\n", "not YAML"),
        (b"render: 150\n", "render"),
        (b"[]: 1\n", "not YAML"),
    ],
)
def test_a_slip_in_a_file_is_told_with_its_place(project: Path, text: bytes, told: str) -> None:
    file = project / "config.local.yaml"
    file.write_bytes(text)
    forget_settings()
    with pytest.raises(SettingsError, match=told) as raised:
        settings()
    assert "config.local.yaml" in str(raised.value)
    assert raised.value.hint


def test_a_file_without_a_setting_changes_nothing(project: Path) -> None:
    (project / "config.local.yaml").write_text("# nothing yet\n")
    forget_settings()
    assert settings().render.dpi == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [("DSDC_WEB_TRUSTED_PROXIES", "10.0.0.1/32"), ("DSDC_TRAIN", "epochs=3"), ("DSDC_TAXONOMY_CLASSES", "[letter]")],
)
def test_what_has_to_be_json_is_named(project: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    forget_settings()
    with pytest.raises(SettingsError, match=f"{name} is not JSON"):
        settings()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("DSDC_TRIAN_EPOCHS", "DSDC_TRAIN_EPOCHS"),
        ("DSDC_TRAINING_EPOCHS", "DSDC_TRAIN_EPOCHS"),
        ("DSDC_LEARNING_RATE", "DSDC_TRAIN_LEARNING_RATE"),
        ("DSDC_LOG_LEVEL", "DSDC_LOGGING_LEVEL"),
        ("DSDC_DB_URL", "DSDC_DATABASE_URL"),
        ("DSDC_PROCESSOR_CLEAN", "DSDC_PROCESSORS_CLEAN"),
        ("dsdc_path_raw", "DSDC_PATHS_RAW"),
    ],
)
def test_a_misspelt_section_is_refused_with_the_right_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, right: str
) -> None:
    monkeypatch.setenv(wrong, "3")
    forget_settings()
    with pytest.raises(SettingsError, match=wrong) as raised:
        settings()
    assert right in str(raised.value.hint)


@pytest.mark.parametrize(
    "name", ["HOME", "PATH", "DATA_DIR", "BACKUP_URL", "IMAGE_TAG", "TRAINING_DATA", "PREDICTIONS_FILE", "TEST_SEED"]
)
def test_a_variable_of_somebody_else_is_left_alone(project: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"DSDC_{name}", "3")
    forget_settings()
    settings()


def test_no_variable_of_the_projects_own_is_taken_for_a_misspelt_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = (".py", ".sh", ".yaml", ".yml", ".md", "Dockerfile")
    folders = ("benchmarks", "dags", "dsdc", "scripts", "services", "tests")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.name.endswith(kinds)]
    texts = [file.read_text() for file in files if file.name != Path(__file__).name]
    sections = tuple(f"DSDC_{name.upper()}" for name in Settings.model_fields)
    names = {name for text in texts for name in re.findall(r"DSDC_[A-Z0-9_]*[A-Z0-9]", text)}
    ours = {name for name in names if not name.startswith((*sections, "DSDC_DIR", "DSDC_SECRET_"))}
    assert {"DSDC_CORPUS", "DSDC_TEST_DATABASE_URL", "DSDC_GATEWAY_BIND", "DSDC_FUZZ_EXAMPLES"} <= ours
    for name in ours:
        monkeypatch.setenv(name, "3")
    forget_settings()
    settings()


def test_secrets_are_strong_private_and_kept(project: Path) -> None:
    assert stat.S_IMODE((project / ".secrets").stat().st_mode) == 0o600
    before = (project / ".secrets").read_text()
    assert write_secrets(project) == []
    assert (project / ".secrets").read_text() == before
    assert secrets().value("database_owner") != secrets().value("database_serve")


def test_no_secret_is_generated_that_would_be_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By chance one may spell a word that stands for a secret still to come."""
    keys = iter([b"A" * 20 + b"ToDo" + b"B" * 19 + b"=", good := Fernet.generate_key().replace(b"o", b"0")])
    monkeypatch.setattr(Fernet, "generate_key", lambda: next(keys))
    (project / ".secrets").unlink()
    write_secrets(project)
    forget_settings()
    assert secrets().value("airflow_fernet") == good.decode()


@pytest.mark.parametrize(
    "value", ["GENERATE", "short", "changeme-changeme-changeme", "a" * 40, "my-password-is-long-enough"]
)
def test_weak_secrets_are_refused_without_being_shown(value: str) -> None:
    with pytest.raises(SecretsError, match="DSDC_SECRET_X") as raised:
        Secrets.check({"DSDC_SECRET_X": value})
    assert value not in str(raised.value) or value == "short"


def test_a_missing_secrets_file_says_what_to_run(project: Path) -> None:
    (project / ".secrets").unlink()
    forget_settings()
    with pytest.raises(SecretsError, match=r"prepare\.sh"):
        secrets()


def test_the_database_url(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().database.embedded
    assert (
        settings().database_url("owner").render_as_string()
        == "postgresql+psycopg2://dsdc_owner:***@127.0.0.1:15432/dsdc"
    )
    monkeypatch.setenv("DSDC_DATABASE_URL", "postgresql://me:pw@db.example:6000/archive")
    forget_settings()
    assert not settings().database.embedded
    assert settings().database_url("serve").username == "archive_serve"
    assert settings().database_url("airflow").database == "archive_airflow"
    monkeypatch.setenv("DSDC_DATABASE_LEAST_PRIVILEGE", "false")
    forget_settings()
    assert settings().database_url("serve").username == "me"
    monkeypatch.setenv("DSDC_DATABASE_URL", "mysql://me@db/archive")
    forget_settings()
    with pytest.raises(SettingsError, match="PostgreSQL"):
        settings().database_url("owner")


def test_the_root_is_found_by_its_marker(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = project / "data" / "raw"
    monkeypatch.delenv("DSDC_DIR")
    monkeypatch.chdir(deep)
    assert project_root() == project
    monkeypatch.setenv("DSDC_DIR", str(deep))
    with pytest.raises(SettingsError, match="dsdc_project_root"):
        project_root()


def addresses() -> dict[str, str]:
    config = settings()
    return {
        "auth": config.auth.url,
        "mlflow": config.mlflow.uri,
        "airflow": config.airflow.url,
        "predict": config.streamlit.predict_url,
    }


def test_a_moved_service_is_found_where_it_listens(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = {"mlflow": 5055, "predict": 8100, "auth": 8101, "airflow": 8180}
    for name, port in ports.items():
        monkeypatch.setenv(f"DSDC_{name.upper()}_PORT", str(port))
    forget_settings()
    assert addresses() == {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    monkeypatch.setenv("DSDC_AUTH_HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("DSDC_PREDICT_HOST", "::")
    monkeypatch.setenv("DSDC_AIRFLOW_HOST", "archive.example")
    forget_settings()
    assert addresses() == {
        "auth": "http://127.0.0.1:8101",
        "mlflow": "http://127.0.0.1:5055",
        "airflow": "http://archive.example:8180",
        "predict": "http://[::1]:8100",
    }


def test_an_address_that_is_given_wins_over_the_port(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: f"https://{name}.example/x" for name in ("auth", "mlflow", "airflow", "predict")}
    keys = {"auth": "AUTH_URL", "mlflow": "MLFLOW_URI", "airflow": "AIRFLOW_URL", "predict": "STREAMLIT_PREDICT_URL"}
    for name, key in keys.items():
        monkeypatch.setenv(f"DSDC_{key}", given[name])
        monkeypatch.setenv(f"DSDC_{name.upper()}_PORT", "9")
    forget_settings()
    assert addresses() == given


def test_of_a_bad_port_only_the_port_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_PREDICT_PORT", "eight")
    forget_settings()
    with pytest.raises(SettingsError, match=r"valid: predict\.port: [^;]*$"):
        settings()
