"""A real MLflow server: a training logged, registered, aliased and fetched again; and none at all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from mlflow import MlflowClient

from dsdc.errors import NotFound, TrackingUnavailable, WeightsError
from dsdc.ml.fit import Fitted
from dsdc.ml.recipe import Recipe, load
from dsdc.ml.tracking import CHALLENGER, CHAMPION, Registered, Tracking
from services.supervisor.ports import free_port
from tests.model.head.synthetic import clusters

STARTS_WITHIN_S = 480  # 12 s on two idle cores, over a minute on crowded ones
GIVEN_UP_WITHIN_S = 40  # seven of them on an idle machine; by itself MLflow tries for many minutes


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
                *("--allowed-hosts", f"127.0.0.1:{port}", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder / 'store.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            stdout=output,
            stderr=output,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=120)


def _wait(url: str, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=10).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    pytest.fail(f"MLflow did not start:\n{output.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def registered(server: str, fitted: Fitted, described: Recipe, head_folder: Path) -> Registered:
    return Tracking(server).log_training(
        fitted, described, head_folder, experiment="tests", model_name="head-of-tests", tags={"asked_by": "a test"}
    )


def test_no_proxy_is_asked_for_a_server_on_loopback(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "elsewhere.example")
    with pytest.raises(NotFound):
        Tracking(server).version_of("nobody", CHAMPION)


def test_the_run_holds_parameters_curves_metrics_figures_reports_and_the_head(
    server: str, registered: Registered, fitted: Fitted, described: Recipe
) -> None:
    client = MlflowClient(server)
    run = client.get_run(registered.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == str(fitted.run.config.learning_rate)
    assert run.data.params["width_image"] == "48"
    assert run.data.metrics["cv/accuracy"] == pytest.approx(fitted.estimate.values["accuracy"])
    assert run.data.metrics["cv/accuracy_low"] < run.data.metrics["cv/accuracy"]
    assert run.data.metrics["weight_image_network"] == pytest.approx(fitted.thresholds.weights["image"][0])
    curve = client.get_metric_history(registered.run_id, "epoch/train_loss")
    assert [point.value for point in curve] == pytest.approx([point.train_loss for point in fitted.run.epochs])
    assert [point.step for point in curve] == list(range(len(fitted.run.epochs)))
    assert run.data.tags["clip_weights_sha256"] == "1" * 64
    assert run.data.tags["snapshot"] == described.origin.snapshot
    assert _files(client, registered.run_id) == {
        "head/head.safetensors",
        "head/recipe.json",
        "head/held_out.npz",
        "plots/training_curve.png",
        *(f"plots/{name}.png" for name in ("confusion_matrix", "reliability_diagram", "risk_coverage")),
        *(f"reports/estimate.{kind}" for kind in ("md", "json")),
    }


def _files(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    found = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= _files(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def test_the_version_is_registered_as_challenger_with_its_identity(server: str, registered: Registered) -> None:
    version = MlflowClient(server).get_model_version("head-of-tests", registered.version)
    assert version.tags["head_sha256"] == registered.head_sha256
    assert version.tags["asked_by"] == "a test"
    assert version.run_id == registered.run_id
    assert Tracking(server).version_of("head-of-tests", CHALLENGER).version == registered.version
    assert registered.run_url.startswith(server)
    # The page it names is there, and MLflow serves the head from the version itself, too.
    assert requests.get(registered.run_url, timeout=60).ok
    assert version.source.endswith("/head")


def test_the_fetched_head_answers_as_the_trained_one(
    server: str, registered: Registered, fitted: Fitted, tmp_path: Path
) -> None:
    folder = Tracking(server).fetch_head("head-of-tests", registered.version, tmp_path)
    head, data = load(folder, head_sha256=fitted.run.head_sha256), clusters(30, seed=6)
    found = head.predict_proba(data.blocks())
    assert np.allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == data.labels).mean() > 0.5


def test_an_alias_moves_from_version_to_version(
    server: str, registered: Registered, fitted: Fitted, described: Recipe, head_folder: Path
) -> None:
    tracking = Tracking(server)
    tracking.set_alias("head-of-tests", CHAMPION, registered.version)
    second = tracking.log_training(
        fitted, described, head_folder, experiment="tests", model_name="head-of-tests", parent_run_id=registered.run_id
    )
    assert int(second.version) == int(registered.version) + 1
    assert tracking.version_of("head-of-tests", CHAMPION).version == registered.version
    assert tracking.version_of("head-of-tests", CHALLENGER).version == second.version
    tracking.set_alias("head-of-tests", CHAMPION, second.version)
    assert tracking.version_of("head-of-tests", CHAMPION).run_id == second.run_id
    assert MlflowClient(server).get_run(second.run_id).data.tags["mlflow.parentRunId"] == registered.run_id
    tracking.set_alias("head-of-tests", CHALLENGER, registered.version)


def test_what_is_not_there_is_not_found(server: str, registered: Registered, tmp_path: Path) -> None:
    tracking = Tracking(server)
    with pytest.raises(NotFound):
        tracking.version_of("head-of-tests", "nobody")
    with pytest.raises(NotFound):
        tracking.version_of("no-such-model", CHAMPION)
    with pytest.raises(NotFound):
        tracking.fetch_head("head-of-tests", "999", tmp_path)


def test_a_training_that_cannot_be_logged_ends_as_failed_and_registers_nothing(
    server: str, registered: Registered, fitted: Fitted, described: Recipe, head_folder: Path
) -> None:
    client = MlflowClient(server)
    with pytest.raises(WeightsError, match="gone"):
        Tracking(server).log_training(fitted, described, head_folder / "gone", experiment="broken", model_name="never")
    experiment = client.get_experiment_by_name("broken")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]
    assert not client.search_registered_models("name = 'never'")


def test_nothing_of_mlflow_chats(
    server: str, fitted: Fitted, described: Recipe, head_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Tracking(server).log_training(fitted, described, head_folder, experiment="quiet", model_name="quiet")
    said = capfd.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "tracking.registered" not in line]
    assert not lines


def test_a_host_that_is_not_allowed_is_told_what_to_do(server: str) -> None:
    with pytest.raises(TrackingUnavailable, match="--allowed-hosts"):
        Tracking(server.replace("127.0.0.1", "localhost")).version_of("head-of-tests", CHAMPION)


def test_a_port_that_looks_like_a_status_is_no_refusal() -> None:
    with pytest.raises(TrackingUnavailable, match=r"start\.sh") as caught:
        Tracking("http://127.0.0.1:4403").version_of("head-of-tests", CHAMPION)
    assert "--allowed-hosts" not in str(caught.value)


def test_no_server_is_said_within_seconds(fitted: Fitted, described: Recipe, head_folder: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TrackingUnavailable, match=r"start\.sh") as caught:
        Tracking(f"http://127.0.0.1:{free_port()}").log_training(
            fitted, described, head_folder, experiment="e", model_name="m"
        )
    assert time.monotonic() - started < GIVEN_UP_WITHIN_S
    assert caught.value.category == "model"


def test_a_server_that_never_answers_is_given_up_within_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(TrackingUnavailable):
            Tracking(f"http://127.0.0.1:{silent.getsockname()[1]}").set_alias("m", CHAMPION, "1")
        assert time.monotonic() - started < GIVEN_UP_WITHIN_S
