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

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.documents import Documents, RejectedDocuments
from dsdc.db.repositories.predictions import Predictions
from dsdc.db.session import transaction, use_role
from dsdc.errors import DatabaseError, DsdcError
from dsdc.log import configure, get_logger
from dsdc.pipeline.assembly import STAGES, register
from dsdc.processors.registry import configured
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

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._in_use: frozenset[int] = frozenset()

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
        in_use = self._processors()
        with transaction() as session:
            queue = StageAttempts(session)
            yield from _ended(queue)
            if in_use:
                yield _waiting(queue, in_use)
            documents = GaugeMetricFamily("dsdc_documents", "Documents in the store")
            documents.add_metric([], Documents(session).stored())
            rejected = GaugeMetricFamily("dsdc_rejected_documents", "Documents in quarantine", labels=["category"])
            for category, number in RejectedDocuments(session).by_category().items():
                rejected.add_metric([category], number)
            # Distinct from dsdc_predictions_total, which a prediction service counts since its own start.
            stored = GaugeMetricFamily("dsdc_predictions_stored", "Predictions in the store", labels=["decision"])
            for decision, number in Predictions(session).counts().items():
                stored.add_metric([decision], number)
        yield from (documents, rejected, stored)

    def _processors(self) -> frozenset[int]:
        """Ids of the processors in use; empty as long as they cannot be told, for want of weights or language data."""
        if not self._in_use:
            try:
                self._in_use = register(configured(self._config)).of_stages
            except DatabaseError:
                raise
            except DsdcError as error:
                log.warning("exporter.processors", error=str(error))
        return self._in_use


def _waiting(queue: StageAttempts, in_use: frozenset[int]) -> Metric:
    """Only for the processors in use: what was left over by an earlier version waits for nobody."""
    pending = GaugeMetricFamily("dsdc_pipeline_pending", "Inputs that wait or are being worked on", labels=["stage"])
    counts = queue.open_by_stage(in_use)
    for stage in STAGES:
        pending.add_metric([stage], counts.get(stage, 0))
    return pending


def _ended(queue: StageAttempts) -> Iterator[Metric]:
    """Of all versions: a count that fell with a switch and rose with the way back would look like new failures."""
    failed = CounterMetricFamily("dsdc_pipeline_failed", "Inputs that failed for good", labels=["stage"])
    done = CounterMetricFamily("dsdc_pipeline_done", "Inputs that were processed", labels=["stage"])
    counts = queue.by_stage()
    for stage in sorted({stage for stage, _ in counts}):
        failed.add_metric([stage], counts.get((stage, "failed"), 0))
        done.add_metric([stage], counts.get((stage, "done"), 0) + counts.get((stage, "skipped"), 0))
    yield from (failed, done)


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
        registry.register(PipelineCollector(config))
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
