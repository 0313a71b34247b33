"""A search in a real MLflow: its trials are runs under it, and so is the training that uses the best of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from dsdc.errors import TrackingUnavailable
from dsdc.ml.fit import Fitted
from dsdc.ml.recipe import Recipe
from dsdc.ml.search import SPACE, search
from dsdc.ml.tracking import Tracking
from services.supervisor.ports import free_port
from tests.model.head.synthetic import QUICK, clusters
from tests.model.head.test_tracking import server

__all__ = ["server"]


def _children(client: MlflowClient, experiment: str, parent: str) -> list:
    found = client.get_experiment_by_name(experiment)
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    return client.search_runs([found.experiment_id], filter_string=query, order_by=["attributes.start_time ASC"])


def test_trials_and_the_final_training_are_runs_under_the_search(
    server: str, fitted: Fitted, described: Recipe, head_folder: Path
) -> None:
    tracking, client = Tracking(server), MlflowClient(server)
    quick = QUICK.model_copy(update={"epochs": 5})
    with tracking.search_run(experiment="search", tags={"snapshot": "2" * 64}) as run:
        found = search(clusters(80), quick, trials=2, tell=run.log_trial)
        run.conclude(found)
    tracking.log_training(
        fitted, described, head_folder, experiment="search", model_name="searched", parent_run_id=run.run_id
    )
    parent = client.get_run(run.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["search/nll"] == pytest.approx(found.winner.value)
    assert parent.data.params["learning_rate"] == str(found.best.learning_rate)
    assert parent.data.tags["snapshot"] == "2" * 64
    first, second, training = _children(client, "search", run.run_id)
    assert [first.info.run_name, second.info.run_name] == ["trial 0", "trial 1"]
    for logged, trial in zip((first, second), found.trials, strict=True):
        assert logged.info.status == "FINISHED"
        assert set(logged.data.params) == set(SPACE)
        assert logged.data.params["dropout"] == str(trial.config.dropout)
        assert logged.data.metrics["search/nll"] == pytest.approx(trial.value)
        curve = client.get_metric_history(logged.info.run_id, "fold_nll")
        assert [point.value for point in curve] == pytest.approx(list(trial.nll))
    assert training.data.params["snapshot"] == "2" * 64


def test_a_search_that_breaks_off_is_failed_and_keeps_its_trials(server: str) -> None:
    tracking, client = Tracking(server), MlflowClient(server)
    quick = QUICK.model_copy(update={"epochs": 5})
    with pytest.raises(KeyboardInterrupt), tracking.search_run(experiment="broken search") as run:
        search(clusters(80), quick, trials=1, tell=run.log_trial)
        raise KeyboardInterrupt
    assert client.get_run(run.run_id).info.status == "FAILED"
    assert len(_children(client, "broken search", run.run_id)) == 1


def test_without_a_server_the_search_does_not_begin() -> None:
    with (
        pytest.raises(TrackingUnavailable, match=r"start\.sh"),
        Tracking(f"http://127.0.0.1:{free_port()}").search_run(experiment="e"),
    ):
        pytest.fail("it began")
