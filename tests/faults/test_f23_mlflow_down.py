"""MLflow is down, or goes down in the middle: serving does not notice, training says so and can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from dsdc.errors import TrackingUnavailable
from dsdc.ml import registry, tracking
from dsdc.pipeline import training
from dsdc.pipeline.training import roll_back, train_model
from dsdc.settings import Settings
from tests.faults.invariant import rows
from tests.faults.models import Gate, mlflow_behind_a_gate, service, use_shades
from tests.pipeline.test_training import bring, page


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with mlflow_behind_a_gate(tmp_path_factory.mktemp("mlflow")) as gate:
        yield gate


@pytest.fixture
def gate(server: Gate) -> Iterator[Gate]:
    """Open, whatever the last test did to it."""
    server.open()
    yield server
    server.open()


@pytest.fixture
def platform(database: Settings, gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Labelled documents; the model's name is the test's own, for all share one MLflow."""
    monkeypatch.setenv("DSDC_TRAIN_MODEL_NAME", tmp_path.name.replace("_", "-"))
    config = use_shades(monkeypatch, gate.url)
    bring(config, 12)
    return config


def aliases(config: Settings, gate: Gate) -> dict[str, int]:
    """Alias -> version, as MLflow has it."""
    model = MlflowClient(gate.url, gate.url).get_registered_model(config.train.model_name)
    return {name: int(version) for name, version in model.aliases.items()}


def shut_before(patch: pytest.MonkeyPatch, gate: Gate, owner: Any, name: str, number: int = 1) -> None:
    """Shut the gate when a function is called for the `number`-th time."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 1000))

    def shutting(*args: Any, **options: Any) -> Any:
        if next(calls) == number:
            gate.shut()
        return real(*args, **options)

    patch.setattr(owner, name, shutting)


def test_serving_does_not_need_it(platform: Settings, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (train_model(author="test", overrides={"seed": seed}) for seed in (1, 2))
    registry.set_alias(platform, "champion", registry.by_version(platform, 1).id, author="test", reason="test")
    gate.shut()
    with service(monkeypatch) as running:  # it starts, answers, reloads, and follows a new champion by itself
        running.until(ready=True)
        assert (running.version(), running.ask(page("memo", 900))["label"]) == (1, "memo")
        assert running.reload().status_code == 200
        registry.set_alias(platform, "champion", registry.by_version(platform, 2).id, author="test", reason="test")
        assert running.reload().json()["version"] == 2
        assert running.ask(page("invoice", 901))["versions"]["head_sha256"] == second.head_sha256
        assert roll_back(author="test").version == 1, "one command, MLflow or not"
        assert running.reload().json()["version"] == 1
        assert running.waits_for() == {}
    assert first.head_sha256 != second.head_sha256


def test_training_says_so_leaves_nothing_and_can_be_repeated(platform: Settings, gate: Gate) -> None:
    gate.shut()
    with pytest.raises(TrackingUnavailable, match=r"Start it \(./scripts/start\.sh\).*then train again") as caught:
        train_model(author="test")
    assert gate.url in str(caught.value)
    assert_nothing_registered(platform)
    gate.open()
    report = train_model(author="test")
    assert (report.version, report.promoted) == (1, True)
    assert aliases(platform, gate) == {"champion": 1, "challenger": 1}


def assert_nothing_registered(config: Settings) -> None:
    assert rows("SELECT * FROM model_versions") == rows("SELECT * FROM model_aliases") == []
    assert not list((config.path("models") / "heads").glob("*")), "no head without a row"


def test_it_goes_down_during_a_training(platform: Settings, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last moment: the run is logged whole, and not registered yet."""
    with monkeypatch.context() as broken:
        shut_before(broken, gate, tracking.Tracking, "_register")
        with pytest.raises(TrackingUnavailable, match="then train again"):
            train_model(author="test")
    assert_nothing_registered(platform)
    gate.open()
    client = MlflowClient(gate.url, gate.url)
    assert not client.search_registered_models(f"name = '{platform.train.model_name}'"), "nothing half-registered"
    assert train_model(author="test").promoted
    assert aliases(platform, gate) == {"champion": 1, "challenger": 1}


def test_it_goes_down_when_the_training_is_registered_already(
    platform: Settings, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion is made by our own database; MLflow's alias, for people to look at, follows with the next one."""
    with monkeypatch.context() as broken:
        shut_before(broken, gate, training.registry, "put_head")
        assert train_model(author="test").promoted
    assert registry.champion(platform).version == 1
    gate.open()
    assert aliases(platform, gate) == {"challenger": 1}
    registered = train_model(author="test", overrides={"seed": 5})
    if not registered.promoted:
        training.promote_version(2, author="test", reason="test")
    assert aliases(platform, gate) == {"champion": 2, "challenger": 2}
