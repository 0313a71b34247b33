"""The pipeline's own metrics: `python -m services.monitoring.exporter` serves `/metrics` to whoever holds the token.

Everything is counted at the moment of the scrape; nothing is kept here, so a restart loses nothing.
"""

from __future__ import annotations

import hmac
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents, RejectedDocuments
from dsdc.db.repositories.predictions import Predictions
from dsdc.db.session import transaction, use_role
from dsdc.db.tables.runs import StageAttempt
from dsdc.errors import DatabaseError, DsdcError
from dsdc.log import configure, get_logger
from dsdc.settings import Settings, secrets, settings

log = get_logger(__name__)
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
FOLDERS = ("to_ingest", "raw", "processed", "uploads", "rejected", "models", "logs")


class DiskCollector(Collector):
    """Size and free space of the disk under each folder of the platform."""

    def __init__(self, config: Settings) -> None:
        self._config = config

    def collect(self) -> Iterator[Metric]:
        size = GaugeMetricFamily("dsdc_disk_size_bytes", "Size of the disk under a folder", labels=["folder"])
        free = GaugeMetricFamily("dsdc_disk_free_bytes", "Free space on the disk under a folder", labels=["folder"])
        for name in FOLDERS:
            folder = self._config.path(name)  # type: ignore[arg-type]
            if folder.exists():
                usage = shutil.disk_usage(folder)
                size.add_metric([name], usage.total)
                free.add_metric([name], usage.free)
        yield from (size, free)


class PipelineCollector(Collector):
    """What waits and what failed, by stage; what was stored, rejected and predicted."""

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("dsdc_database_up", "Whether the platform's database answers")
        try:
            families = list(self._families())
        except DatabaseError as error:
            log.warning("exporter.database", error=str(error))
            families = []
        up.add_metric([], 1.0 if families else 0.0)
        yield from (up, *families)

    def _families(self) -> Iterator[Metric]:
        with transaction() as session:
            yield from _stages(session)
            documents = GaugeMetricFamily("dsdc_documents", "Documents in the store")
            documents.add_metric([], Documents(session).count())
            rejected = GaugeMetricFamily("dsdc_rejected_documents", "Documents in quarantine", labels=["category"])
            for category, number in RejectedDocuments(session).by_category().items():
                rejected.add_metric([category], number)
            # Distinct from dsdc_predictions_total, which a prediction service counts since its own start.
            stored = GaugeMetricFamily("dsdc_predictions_stored", "Predictions in the store", labels=["decision"])
            for decision, number in Predictions(session).counts().items():
                stored.add_metric([decision], number)
        yield from (documents, rejected, stored)


def _stages(session: Session) -> Iterator[Metric]:
    pending = GaugeMetricFamily("dsdc_pipeline_pending", "Inputs that wait or are being worked on", labels=["stage"])
    failed = CounterMetricFamily("dsdc_pipeline_failed", "Inputs that failed for good", labels=["stage"])
    done = CounterMetricFamily("dsdc_pipeline_done", "Inputs that were processed", labels=["stage"])
    rows = session.execute(
        select(StageAttempt.stage, StageAttempt.state, func.count()).group_by(StageAttempt.stage, StageAttempt.state)
    )
    counts = {(stage, state): number for stage, state, number in rows}
    for stage in sorted({stage for stage, _ in counts}):
        pending.add_metric([stage], sum(counts.get((stage, state), 0) for state in ("pending", "running")))
        failed.add_metric([stage], counts.get((stage, "failed"), 0))
        done.add_metric([stage], sum(counts.get((stage, state), 0) for state in ("done", "skipped")))
    yield from (pending, failed, done)


def guarded(application: Wsgi, token: str) -> Wsgi:
    """The application for bearers of the token; `/healthz` for everyone."""
    expected = f"Bearer {token}".encode()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/healthz":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ok\n"]
        if not hmac.compare_digest(environ.get("HTTP_AUTHORIZATION", "").encode(), expected):
            start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("WWW-Authenticate", "Bearer")])
            return [b"A token is needed: DSDC_SECRET_METRICS_TOKEN in .secrets.\n"]
        return application(environ, start_response)

    return answer


class _Quiet(WSGIRequestHandler):
    """A line for every scrape would be all that the log holds."""

    def log_message(self, *_: Any) -> None:
        return


def main() -> int:
    """Serve until SIGTERM."""
    config = settings()
    configure(config.logging.level, config.logging.format, service="pipeline-exporter")
    use_role("pipeline")
    registry = CollectorRegistry()
    registry.register(DiskCollector(config))
    try:
        # Registered without being asked first: the database may come up after this process.
        registry.register(PipelineCollector())
        application = guarded(make_wsgi_app(registry), secrets().value("metrics_token"))
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    port = config.monitoring.pipeline_port
    with make_server("127.0.0.1", port, application, ThreadingWSGIServer, _Quiet) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        log.info("exporter.listening", port=port)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
