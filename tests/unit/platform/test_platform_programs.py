"""The table of programs, and the configuration made from it; checked by the programs that will read it."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dsdc.errors import PortTaken, SetupError
from dsdc.settings import secrets, settings
from services.airflow.environment import airflow_environment
from services.mlflow.launch import mlflow_command
from services.monitoring import configs
from services.monitoring.launch import COMMANDS
from services.supervisor.config import SOCKET_PATH_LIMIT, socket_path, supervisor_config
from services.supervisor.control import select
from services.supervisor.ports import Port, free_port, is_free, require_free
from services.supervisor.programs import programs
from tests.projects import forget_settings

REPOSITORY = Path(__file__).resolve().parents[3]
DASHBOARDS = REPOSITORY / "services" / "monitoring" / "grafana" / "dashboards"


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed; ./scripts/prepare.sh installs it")
    return found


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_each_program_has_its_own_name_and_port(project: Path) -> None:
    table = programs(settings())
    names = [program.name for program in table]
    numbers = [program.port.number for program in table if program.port]
    assert len(set(names)) == len(names)
    assert len(set(numbers)) == len(numbers)
    assert names[0] == "postgres"


def test_every_port_names_a_setting_that_moves_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = {program.name: program.port for program in programs(settings()) if program.port}
    for number, port in enumerate(ports.values(), start=20001):
        monkeypatch.setenv(port.variable, str(number))
    forget_settings()
    moved = {program.name: program.port.number for program in programs(settings()) if program.port}
    assert moved == {name: number for number, name in enumerate(ports, start=20001)}


def test_with_another_server_there_is_no_postgres(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_DATABASE_URL", "postgresql://owner:pw@db.example:5432/dsdc")
    forget_settings()
    assert "postgres" not in [program.name for program in programs(settings())]


def test_an_unknown_program_is_refused_by_name(project: Path) -> None:
    with pytest.raises(SetupError, match=r"postgers.*There are .*postgres"):
        select(settings(), "postgers,mlflow")


def test_no_command_line_holds_a_secret(project: Path) -> None:
    config = settings()
    lines = [part for program in programs(config) for part in program.command]
    lines += mlflow_command(config).arguments
    for name, command in COMMANDS.items():
        if name != "grafana":
            lines += command(config).arguments
    lines.append(supervisor_config(config, programs(config)))
    values = [value.get_secret_value() for value in secrets().values.values()]
    assert not [value for value in values for line in lines if value in line]


def test_other_peoples_programs_get_no_secret_but_their_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("prometheus")
    monkeypatch.setenv("DSDC_SECRET_METRICS_TOKEN", "kYx3vS9pQ2mN7bR4tW8zLc5d")
    forget_settings()
    environment = COMMANDS["prometheus"](settings()).environment()
    assert not [key for key in environment if key.startswith("DSDC_SECRET")]
    exporter = COMMANDS["postgres-exporter"](settings()).environment()
    assert secrets().value("database_exporter") in exporter["DATA_SOURCE_NAME"]
    assert secrets().value("database_owner") not in str(exporter)


def test_supervisor_reads_its_configuration(project: Path) -> None:
    config = settings()
    parser = configparser.RawConfigParser()
    parser.read_string(supervisor_config(config, programs(config)))
    assert f"program:{programs(config)[0].name}" in parser.sections()
    for program in programs(config):
        section = parser[f"program:{program.name}"]
        assert section["autorestart"] == "true"
        assert section["stdout_logfile"] == str(project / "logs" / f"{program.name}.log")


def test_a_changed_setting_changes_the_configuration(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = supervisor_config(settings(), programs(settings()))
    monkeypatch.setenv("DSDC_OCR_LANGUAGES", "deu")
    forget_settings()
    assert supervisor_config(settings(), programs(settings())) != before


def test_the_socket_path_is_short_enough_to_bind(project: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("long-name-" * 12)
    deep.mkdir()
    config = settings().model_copy(update={"root": deep})
    found = socket_path(config)
    assert len(str(found)) <= SOCKET_PATH_LIMIT
    assert found.parent.stat().st_mode & 0o777 == 0o700
    found.parent.rmdir()


def test_the_metrics_token_is_readable_by_its_owner_alone(project: Path) -> None:
    token = configs.write_configs(settings())[0]
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() == secrets().value("metrics_token")


def test_prometheus_accepts_its_configuration_and_rules(project: Path) -> None:
    configs.write_configs(settings())
    file = project / "logs" / "run" / "monitoring" / "prometheus.yml"
    done = subprocess.run(
        [needs("promtool"), "check", "config", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_alertmanager_accepts_its_configuration() -> None:
    done = subprocess.run(
        [needs("amtool"), "check-config", str(configs.ALERTMANAGER)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_blackbox_exporter_accepts_its_configuration(project: Path) -> None:
    configs.write_configs(settings())
    file = project / "logs" / "run" / "monitoring" / "blackbox.yml"
    done = subprocess.run(
        [needs("prometheus-blackbox-exporter"), "--config.check", f"--config.file={file}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_program_is_scraped_or_probed(project: Path) -> None:
    config = settings()
    made = configs.prometheus_config(config, project / "token")
    watched = {job["static_configs"][0]["labels"]["service"] for job in made["scrape_configs"]}
    # PostgreSQL speaks no HTTP: its exporter speaks for it.
    assert watched == {program.name for program in programs(config)} - {"postgres"}


@pytest.mark.parametrize("file", sorted(DASHBOARDS.glob("*.json")), ids=lambda file: file.name)
def test_every_query_of_a_dashboard_is_valid(file: Path, tmp_path: Path) -> None:
    board = json.loads(file.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) > 10
    rules = [{"record": f"check:{number}", "expr": query} for number, query in enumerate(queries)]
    checked = tmp_path / "rules.yml"
    checked.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [needs("promtool"), "check", "rules", str(checked)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_do_not_overlap() -> None:
    board = json.loads((DASHBOARDS / "platform.json").read_text())
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_rule_for_a_dead_service_fires(project: Path, tmp_path: Path) -> None:
    test = {
        "rule_files": [str(configs.RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": 'up{job="predict",service="predict"}', "values": "0x10"},
                    {"series": 'probe_success{job="probe",service="mlflow"}', "values": "1x10"},
                ],
                "alert_rule_test": [
                    {
                        "eval_time": "5m",
                        "alertname": "ServiceDown",
                        "exp_alerts": [
                            {
                                "exp_labels": {"job": "predict", "service": "predict", "severity": "critical"},
                                "exp_annotations": {
                                    "summary": "predict does not answer",
                                    "action": "Read logs/predict.log; start it again with ./scripts/start.sh.",
                                },
                            }
                        ],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test))
    done = subprocess.run([needs("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stuck_pipeline_is_told_from_a_busy_one(tmp_path: Path) -> None:
    def stuck(values: str) -> dict[str, object]:
        series = 'dsdc_pipeline_pending{stage="text"}'
        return {"interval": "1m", "input_series": [{"series": series, "values": values}]}

    def expect(values: str, firing: bool) -> dict[str, object]:
        annotations = {
            "summary": "50 inputs wait at text and their number does not fall",
            "action": "Look at ingest_and_process in Airflow, then: dsdc status",
        }
        alert = {"exp_labels": {"stage": "text", "severity": "warning"}, "exp_annotations": annotations}
        rule = {"eval_time": "80m", "alertname": "PipelineStuck", "exp_alerts": [alert] if firing else []}
        return stuck(values) | {"alert_rule_test": [rule]}

    test = {"rule_files": [str(configs.RULES)], "evaluation_interval": "1m"}
    test["tests"] = [expect("50x90", True), expect("500-5x90", False)]  # type: ignore[assignment]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test))
    done = subprocess.run([needs("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_health_pattern_of_airflow_reads_its_answer(project: Path) -> None:
    scheduler = next(p for p in programs(settings()) if p.name == "airflow-scheduler")
    assert scheduler.health is not None
    well = '{"metadatabase":{"status":"healthy"},"scheduler":{"status":"healthy","latest_scheduler_heartbeat":"x"}}'
    assert re.search(scheduler.health.pattern, well)
    assert not re.search(
        scheduler.health.pattern, well.replace('"scheduler":{"status":"healthy"', '"scheduler":{"status":null')
    )


def test_airflow_is_configured_by_environment_alone(project: Path) -> None:
    made = airflow_environment(settings())
    assert "dsdc_airflow" in made["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert secrets().value("database_airflow") in made["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert made["AIRFLOW__CORE__FERNET_KEY"] == secrets().value("airflow_fernet")
    assert made["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert all(isinstance(value, str) for value in made.values())


def test_mlflow_lets_in_loopback_names_alone(project: Path) -> None:
    command = mlflow_command(settings())
    hosts = next(part for part in command.arguments if part.startswith("--allowed-hosts="))
    port = settings().mlflow.port
    assert hosts == f"--allowed-hosts=127.0.0.1:{port},localhost:{port},[::1]:{port}"
    assert command.variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_a_taken_port_is_named_with_its_setting_and_program(listener: int) -> None:
    with pytest.raises(PortTaken) as caught:
        require_free([Port(listener, "airflow.port"), Port(free_port(), "mlflow.port")])
    message = str(caught.value)
    assert f"port {listener} (airflow.port) by " in message
    assert "(pid " in message
    assert "DSDC_AIRFLOW_PORT" in message
    assert "mlflow" not in message


def test_a_free_port_is_free_and_a_taken_one_is_not(listener: int) -> None:
    found = [free_port() for _ in range(20)]
    assert all(is_free(number) for number in found)
    assert len(set(found)) == 20, "nobody else is given the same"
    assert not is_free(listener)
