"""What the platform says of itself to Prometheus, against a real store."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.session import transaction
from dsdc.pipeline.arrivals import simulate_arrivals
from dsdc.pipeline.assembly import STAGES, assemble
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.processors.embed.weights import WeightsStore
from dsdc.settings import Clip, Settings, settings
from services.monitoring.exporter import PipelineCollector
from tests.projects import ROOT, forget_settings


@pytest.fixture
def documents(database: Settings) -> int:
    """Documents in the store, which wait to be rendered but for one, which failed."""
    WeightsStore(Clip(), ROOT / "models").fetch()
    simulate_arrivals(count=3, seed=3)
    ingest_inbox()
    render = assemble(database).render
    with transaction() as session:
        StageAttempts(session).enqueue(render.name, render.processor_id, render.inputs(), limit=3)
        session.execute(
            text("UPDATE stage_attempts SET state = 'failed' WHERE id = (SELECT min(id) FROM stage_attempts)")
        )
    return 3


def scrape() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PipelineCollector(settings()))
    return registry


def pending(registry: CollectorRegistry) -> dict[str, float | None]:
    return {stage: registry.get_sample_value("dsdc_pipeline_pending", {"stage": stage}) for stage in STAGES}


def test_work_of_a_replaced_version_waits_for_nobody(documents: int, project: Path) -> None:
    assert pending(scrape()) == dict.fromkeys(STAGES, 0) | {"render": documents - 1}
    (project / "config.local.yaml").write_text("render: {dpi: 100}\n")
    forget_settings()
    switched = scrape()
    assert pending(switched) == dict.fromkeys(STAGES, 0)
    assert switched.get_sample_value("dsdc_pipeline_failed_total", {"stage": "render"}) == 1


def test_where_the_weights_are_missing_the_rest_is_told(documents: int, project: Path) -> None:
    (project / "config.local.yaml").write_text("clip: {model: ViT-B-32, pretrained: nowhere.safetensors}\n")
    forget_settings()
    registry = scrape()
    assert registry.get_sample_value("dsdc_database_up") == 1
    assert registry.get_sample_value("dsdc_documents") == documents
    assert set(pending(registry).values()) == {None}


def test_rejected_and_forgotten_documents_are_not_in_the_store(documents: int) -> None:
    assert scrape().get_sample_value("dsdc_documents") == documents
    with transaction() as session:
        for state in ("rejected", "forgotten"):
            one = "SELECT id FROM original_documents WHERE state = 'stored' LIMIT 1"
            session.execute(text(f"UPDATE original_documents SET state = '{state}' WHERE id = ({one})"))
    assert scrape().get_sample_value("dsdc_documents") == documents - 2
