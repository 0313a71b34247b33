"""Metrics of predictions."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from dsdc.web.contract import Prediction
from dsdc.web.metrics import HttpMetrics
from services.predict.answering import Model

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class PredictMetrics:
    """Beside the metrics that every service has, in the same registry."""

    def __init__(self, http: HttpMetrics) -> None:
        self._predictions = Counter("dsdc_predictions", "Answers given.", ["label", "decision"], registry=http.registry)
        self._unread = Counter(
            "dsdc_predict_unread", "Answers from the images alone, for they were enough.", registry=http.registry
        )
        self._seconds = Histogram(
            "dsdc_predict_seconds", "Time of an answer, by stage.", ["stage"], buckets=_BUCKETS, registry=http.registry
        )
        self._model = Gauge(
            "dsdc_model_info",
            "The model that serves.",
            ["name", "version", "head_sha256", "clip"],
            registry=http.registry,
        )
        self.working = Gauge("dsdc_predict_working", "Documents being processed.", registry=http.registry)
        self.queued = Gauge("dsdc_predict_queued", "Documents admitted that wait for a worker.", registry=http.registry)
        self.refused = Counter("dsdc_predict_refused", "Requests that found no place.", registry=http.registry)
        self.batch_waiting = Gauge(
            "dsdc_batch_items_waiting", "Documents of all batches without an answer yet.", registry=http.registry
        )
        self.batch_items = Counter(
            "dsdc_batch_items", "Documents of batches that came to an end here.", ["result"], registry=http.registry
        )

    def serves(self, model: Model) -> None:
        self._model.clear()
        self._model.labels(model.name, str(model.version), model.head_sha256, str(model.clip.get("model", ""))).set(1)

    def predicted(self, prediction: Prediction, timings_ms: Mapping[str, float]) -> None:
        self._predictions.labels(prediction.label, prediction.decision).inc()
        if prediction.versions.get("evidence") == "image" and "text" not in prediction.versions:
            self._unread.inc()
        for stage, milliseconds in timings_ms.items():
            self._seconds.labels(stage).observe(milliseconds / 1000)
