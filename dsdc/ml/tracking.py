"""Training runs and model versions in MLflow: what went in, how it went, what came out, and which version serves.

The head is logged as safetensors with its recipe, and registered from there. MLflow's own PyTorch flavour is not used:
it stores a traced graph, bound to one batch size, or a pickle.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from dsdc.errors import NotFound, TrackingUnavailable
from dsdc.log import get_logger
from dsdc.ml import plots, recipe
from dsdc.ml.fit import Fitted
from dsdc.ml.recipe import Recipe
from dsdc.proxies import past_proxies

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from dsdc.ml.search import Found, Trial

log = get_logger(__name__)

CHALLENGER, CHAMPION = "challenger", "champion"
HEAD_FOLDER = "head"

#: MLflow reads these when it is imported or at each request. Its own defaults repeat a request for minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_CONNECT_S, _ANSWER_S = 2.0, 5.0
#: What MLflow answers to a host that it does not know, with the status 403; a port may have these digits too.
_INVALID_HOST = "Invalid Host header"
#: Most that one request may carry, a limit of MLflow's.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100


@dataclass(frozen=True)
class Registered:
    """One version of a registered model, and the run that it came from."""

    model_name: str
    version: str
    run_id: str
    run_url: str
    head_sha256: str


class SearchRun:
    """An open run of a search. Raises TrackingUnavailable as `Tracking` does, for it is used within `search_run`."""

    def __init__(self, client: MlflowClient, experiment_id: str, run_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self.run_id = run_id

    def log_trial(self, trial: Trial) -> None:
        """A run of its own under the search: its settings, the curve over folds, and the metrics if it got through."""
        from mlflow.entities import Metric, Param

        name = f"trial {trial.number}"
        tags = {"mlflow.parentRunId": self.run_id, "given_up": str(trial.estimate is None).lower()}
        run_id = self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id
        now = int(time.time() * 1000)
        metrics = [Metric("fold_nll", value, now, fold) for fold, value in enumerate(trial.nll)]
        metrics.append(Metric("seconds", trial.seconds, now, 0))
        if trial.estimate is not None:
            metrics += [Metric(f"search/{key}", value, now, 0) for key, value in _finite(trial.estimate.values).items()]
        settings = [Param(key, str(value)) for key, value in trial.settings.items()]
        self._client.log_batch(run_id, params=settings, metrics=metrics)
        self._client.set_terminated(run_id)

    def conclude(self, found: Found) -> None:
        """The settings that won, what they are worth, and how many trials it took, on the search's own run."""
        from mlflow.entities import Metric, Param

        winner, now = found.winner, int(time.time() * 1000)
        numbers = {
            "search/nll": winner.value,
            "search/nll_at_first": found.trials[0].value,
            "trials": float(len(found.trials)),
            "trials_given_up": float(sum(trial.estimate is None for trial in found.trials)),
        }
        params = [Param(key, str(value)) for key, value in {**winner.settings, "best_trial": winner.number}.items()]
        metrics = [Metric(key, value, now, 0) for key, value in _finite(numbers).items()]
        self._client.log_batch(self.run_id, params=params, metrics=metrics)


class Tracking:
    """One MLflow server.

    Every method raises TrackingUnavailable when it does not answer or refuses, within seconds rather than minutes.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    def log_training(
        self,
        fitted: Fitted,
        described: Recipe,
        folder: Path,
        *,
        experiment: str,
        model_name: str,
        tags: Mapping[str, str] | None = None,
        reports: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
    ) -> Registered:
        """Record a training as a run and register its head as a new version, with alias `challenger`.

        A run that breaks off is marked failed, and nothing of it is registered; so is one whose folder does not hold
        the head that it is said to (WeightsError).

        Args:
            described: the recipe of `fitted`.
            folder: the head as it was saved, its recipe and whatever lies beside it.
            tags: further tags of run and version.
            reports: further reports in Markdown, by name.
            parent_run_id: the run under which this one is shown, as in a search.
        """
        every_tag = _tags(described) | dict(tags or {})
        with self._answering() as client, self._run(client, experiment, every_tag, parent_run_id) as run_id:
            _log_numbers(client, run_id, fitted, described)
            _log_reports(client, run_id, fitted, described)
            for name, text in (reports or {}).items():
                client.log_text(run_id, text, f"reports/{name}.md")
            recipe.load(folder, head_sha256=described.head_sha256)  # MLflow would log an empty folder without a word
            client.log_artifacts(run_id, str(folder), HEAD_FOLDER)
            found = self._register(client, model_name, run_id, every_tag)
            client.set_registered_model_alias(model_name, CHALLENGER, found.version)
        log.info("tracking.registered", model=model_name, version=found.version, run=run_id)
        return self._registered(found)

    @contextmanager
    def search_run(self, *, experiment: str, tags: Mapping[str, str] | None = None) -> Iterator[SearchRun]:
        """A run for a search, whose trials become runs under it; give its id to `log_training` as `parent_run_id`.

        Failed when the search breaks off; what was logged until then stays.
        """
        from mlflow.exceptions import MlflowException

        with self._answering() as client:
            experiment_id = _experiment(client, experiment)
            run = client.create_run(experiment_id, run_name="search", tags=dict(tags or {}))
            run_id: str = run.info.run_id
            try:
                yield SearchRun(client, experiment_id, run_id)
            except BaseException:
                with suppress(MlflowException, requests.RequestException):
                    client.set_terminated(run_id, status="FAILED")
                raise
            client.set_terminated(run_id)

    def log_report(
        self,
        name: str,
        folder: Path,
        *,
        experiment: str,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        metrics: Mapping[str, float],
    ) -> str:
        """A run that made no model, with the files of `folder` under `report/`; returns its id."""
        from mlflow.entities import Metric, Param

        with self._answering() as client, self._run(client, experiment, tags, None, name=name) as run_id:
            now = int(time.time() * 1000)
            client.log_batch(
                run_id,
                params=[Param(key, str(value)) for key, value in params.items()],
                metrics=[Metric(key, value, now, 0) for key, value in _finite(metrics).items()],
            )
            client.log_artifacts(run_id, str(folder), "report")
        return run_id

    def set_alias(self, model_name: str, alias: str, version: str) -> None:
        """Point an alias at a version. Raises NotFound when there is no such version."""
        with self._answering() as client:
            client.set_registered_model_alias(model_name, alias, version)

    def version_of(self, model_name: str, alias: str) -> Registered:
        """The version that an alias points at. Raises NotFound when it points nowhere."""
        with self._answering() as client:
            return self._registered(client.get_model_version_by_alias(model_name, alias))

    def fetch_head(self, model_name: str, version: str, folder: Path) -> Path:
        """Download a version's `head/` into `folder`; the path of it, for `recipe.load`, which checks its hashes."""
        with self._answering() as client:
            found = client.get_model_version(model_name, version)
            return Path(client.download_artifacts(found.run_id, HEAD_FOLDER, str(folder)))

    @contextmanager
    def _answering(self) -> Iterator[MlflowClient]:
        """A client of a server that has just answered; whatever goes wrong with it comes out as our own errors."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ.update(past_proxies(os.environ))
        # Imported here: MLflow starts its telemetry when imported, unless the environment says not to.
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._probe()
        try:
            yield MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        except MlflowException as problem:
            if problem.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise NotFound(problem.message) from problem
            raise self._unavailable(problem.message) from problem
        except requests.RequestException as problem:
            raise self._unavailable(str(problem)) from problem

    def _probe(self) -> None:
        """One short request first: a client's own patience is for servers that are there."""
        if not self.uri.startswith(("http://", "https://")):
            return
        try:
            requests.get(f"{self.uri}/health", timeout=(_CONNECT_S, _ANSWER_S)).raise_for_status()
        except requests.RequestException as problem:
            raise self._unavailable(str(problem)) from problem

    def _unavailable(self, reason: str) -> TrackingUnavailable:
        hint = "Start it (./scripts/start.sh) or set mlflow.uri, then train again; nothing else was lost."
        if _INVALID_HOST in reason:
            hint = "Name this host in the server's --allowed-hosts, then train again."
        return TrackingUnavailable(f"MLflow at {self.uri} does not do its work: {reason.strip()}.", hint=hint)

    @contextmanager
    def _run(
        self, client: MlflowClient, experiment: str, tags: Mapping[str, str], parent_run_id: str | None, name: str = ""
    ) -> Iterator[str]:
        """A new run's id; finished when the block is through, failed when it is not."""
        from mlflow.exceptions import MlflowException

        parent = {"mlflow.parentRunId": parent_run_id} if parent_run_id else {}
        name = name or f"snapshot {tags['snapshot'][:8]}, head {tags['head_sha256'][:8]}"
        run = client.create_run(_experiment(client, experiment), run_name=name, tags={**tags, **parent})
        run_id: str = run.info.run_id
        try:
            yield run_id
        except BaseException:
            # The first error is the one to tell; a server that is gone cannot be told that the run failed.
            with suppress(MlflowException, requests.RequestException):
                client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id)

    def _register(self, client: MlflowClient, name: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as problem:
            if problem.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{client.get_run(run_id).info.artifact_uri}/{HEAD_FOLDER}"
        shown = {key: value for key, value in tags.items() if not key.startswith("mlflow.")}
        # A version of files that are there already is ready when it is made: nothing to wait for, or to say so.
        return client.create_model_version(name, source, run_id=run_id, tags=shown, await_creation_for=0)

    def _registered(self, found: ModelVersion) -> Registered:
        return Registered(
            model_name=found.name,
            version=str(found.version),
            run_id=str(found.run_id),
            run_url=f"{self.uri}/#/runs/{found.run_id}",
            head_sha256=found.tags.get("head_sha256", ""),
        )


def _experiment(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return client.create_experiment(name)
    except MlflowException as problem:
        # Another process was quicker.
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(name).experiment_id)


def _tags(described: Recipe) -> dict[str, str]:
    clip = described.origin.clip
    return {
        "head_sha256": described.head_sha256,
        "snapshot": described.origin.snapshot,
        "clip": f"{clip.name} {clip.version}",
        "clip_params_hash": clip.params_hash,
        "clip_weights_sha256": clip.weights_sha256 or "",
        "code_commit": described.origin.code_commit,
        "mlflow.source.git.commit": described.origin.code_commit,
    }


def _log_numbers(client: MlflowClient, run_id: str, fitted: Fitted, described: Recipe) -> None:
    from mlflow.entities import Metric, Param

    params: dict[str, Any] = {**fitted.run.config.model_dump(), **_facts(fitted, described)}
    entries = [Param(key, str(value)) for key, value in params.items()]
    for start in range(0, len(entries), _PARAMS_AT_ONCE):
        client.log_batch(run_id, params=entries[start : start + _PARAMS_AT_ONCE])
    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in _results(fitted).items()]
    for point in fitted.run.epochs:
        curve = {key: value for key, value in vars(point).items() if key != "epoch"}
        metrics += [Metric(f"epoch/{key}", value, now, point.epoch) for key, value in curve.items()]
    for start in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[start : start + _METRICS_AT_ONCE])


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in numbers.items() if math.isfinite(value)}


def _facts(fitted: Fitted, described: Recipe) -> dict[str, Any]:
    return {
        "snapshot": described.origin.snapshot,
        "kind": described.kind,
        "calibration": described.calibration.method,
        "classes": len(fitted.run.classes),
        "coverage": fitted.coverage,
        "review_budget": fitted.review_budget,
        "device": fitted.run.device,
        "documents": len(fitted.estimate.scored),
        **{f"width_{name}": width for name, width in described.shape.widths.items()},
    }


def _results(fitted: Fitted) -> dict[str, float]:
    thresholds = fitted.thresholds
    own = {"seconds": fitted.run.seconds, "review_threshold": thresholds.review}
    if thresholds.cascade is not None:
        own |= {"cascade_threshold": thresholds.cascade.threshold, "cascade_share": thresholds.cascade.share}
    for kind, weights in thresholds.weights.items():
        own[f"floor_{kind}"] = thresholds.floors[kind]
        own |= {f"weight_{kind}_{name}": w for name, w in zip(fitted.components, weights, strict=True)}
    return own | fitted.estimate.flat("cv/")


def _log_reports(client: MlflowClient, run_id: str, fitted: Fitted, described: Recipe) -> None:
    names = [c.name for c in described.classes]
    if fitted.run.epochs:
        client.log_figure(run_id, plots.training_curve(fitted.run.epochs), "plots/training_curve.png")
    for name, figure in plots.evaluation_figures(fitted.estimate.scored, names).items() if fitted.folds else ():
        client.log_figure(run_id, figure, f"plots/{name}.png")
    client.log_text(run_id, fitted.estimate.markdown(), "reports/estimate.md")
    client.log_text(run_id, json.dumps(fitted.estimate.as_json(), indent=2), "reports/estimate.json")
