"""How OpenLineage is set up, and what datasets are called; `test_runs` reads the events of whole runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dsdc.errors import SettingsError
from dsdc.settings import Settings, settings
from services.airflow.cluster import cluster_environment
from tests.dags.openlineage_events import lineage_environment
from tests.projects import forget_settings


def test_the_stages_name_their_tables_and_a_store_elsewhere_its_bucket(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.airflow.lineage import FLOWS, dataset

    monkeypatch.setenv("DSDC_DATABASE_URL", "postgresql://someone:a-very-secret-word@db.example:6543/archive")
    monkeypatch.setenv("DSDC_STORAGE_URL", "s3://bucket/some/where")
    forget_settings()
    config = settings()
    reads, writes = FLOWS["ingest_and_process"]["render"]
    found = [(one.namespace, one.name) for name in (*reads, *writes) for one in [dataset(config, name)]]
    assert found == [
        ("postgres://db.example:6543", "archive.public.original_documents"),
        ("s3://bucket", "some/where/raw"),
        ("postgres://db.example:6543", "archive.public.processed_images"),
        ("s3://bucket", "some/where/processed"),
    ]


def test_it_is_turned_off_or_sent_elsewhere_by_a_setting(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_to(value: str) -> dict[str, str]:
        (project / "config.local.yaml").write_text(f"airflow: {{openlineage: {value}}}\n")
        forget_settings()
        return lineage_environment(settings())

    assert set_to("off") == {"AIRFLOW__OPENLINEAGE__DISABLED": "True"}
    sent = json.loads(set_to("http://marquez:5000")["AIRFLOW__OPENLINEAGE__TRANSPORT"])
    assert sent == {"type": "http", "url": "http://marquez:5000"}
    kept = json.loads(set_to("file")["AIRFLOW__OPENLINEAGE__TRANSPORT"])
    assert kept["log_file_path"] == str(project / "logs" / "openlineage" / "events.jsonl")
    monkeypatch.setenv("DSDC_SECRET_REDIS", "n0t-gu3ssable-4t-all-0987")
    forget_settings()
    spread = json.loads(cluster_environment(settings(), {})["AIRFLOW__OPENLINEAGE__TRANSPORT"])
    assert spread["log_file_path"] == str(project / "logs" / "airflow" / "openlineage" / "events.jsonl")


def test_events_are_kept_for_a_month_a_file_a_day(tmp_path: Path) -> None:
    from openlineage.client.transport.file import FileConfig

    from services.airflow.lineage import EventFile

    folder = tmp_path / "openlineage"
    folder.mkdir()
    (folder / "notes.txt").touch()
    for day in range(1, 32):
        (folder / f"events-2026-01-{day:02}.jsonl").touch()
    days = [datetime.now(UTC)]
    EventFile(FileConfig(log_file_path=str(folder / "events.jsonl"), append=True)).emit({"eventType": "START"})
    days.append(datetime.now(UTC))
    kept = sorted(file.name for file in folder.iterdir())
    assert kept[0] == "events-2026-01-02.jsonl"
    assert kept[-2] in {f"events-{day:%Y-%m-%d}.jsonl" for day in days}
    assert (folder / kept[-2]).read_text() == '{"eventType": "START"}\n'
    assert kept[-1] == "notes.txt"


def test_an_address_with_a_password_is_refused(project: Path) -> None:
    (project / "config.local.yaml").write_text('airflow: {openlineage: "http://me:word@marquez"}\n')
    forget_settings()
    with pytest.raises(SettingsError, match=r"airflow\.openlineage"):
        settings()
