"""The configuration of Prometheus and the blackbox exporter, made from the table of programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dsdc.settings import Settings, secrets
from services.supervisor.programs import Program, programs

HERE = Path(__file__).parent
RULES = HERE / "rules.yml"
ALERTMANAGER = HERE / "alertmanager.yml"
SCRAPE_INTERVAL = "15s"


def run_folder(config: Settings) -> Path:
    """Where generated configuration lives: ignored by git, closed to other users."""
    return config.path("logs") / "run"


def write_configs(config: Settings) -> list[Path]:
    """Write every generated file of the monitoring; returns them."""
    folder = run_folder(config) / "monitoring"
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / "metrics.token"
    token.touch(mode=0o600)
    token.chmod(0o600)
    token.write_text(secrets().value("metrics_token"))
    made = {"blackbox.yml": blackbox_config(config), "prometheus.yml": prometheus_config(config, token)}
    for name, content in made.items():
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return [token, *(folder / name for name in made)]


def _probed(config: Settings) -> list[Program]:
    return [program for program in programs(config) if program.health and not program.metrics]


def blackbox_config(config: Settings) -> dict[str, Any]:
    """One module a probed program: 200 within five seconds, with the text that says it is well."""
    modules: dict[str, Any] = {}
    for program in _probed(config):
        http: dict[str, Any] = {"method": "GET", "preferred_ip_protocol": "ip4", "valid_status_codes": [200]}
        if program.health and program.health.pattern:
            http["fail_if_body_not_matches_regexp"] = [program.health.pattern]
        modules[program.name] = {"prober": "http", "timeout": "5s", "http": http}
    return {"modules": modules}


def prometheus_config(config: Settings, token: Path) -> dict[str, Any]:
    """Scrape what serves metrics, probe the rest, watch the rules."""
    alertmanager = f"127.0.0.1:{config.monitoring.alertmanager_port}"
    return {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
        "rule_files": [str(RULES)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            *(_scrape(program, token) for program in programs(config) if program.metrics),
            *(_probe(program, config) for program in _probed(config)),
        ],
    }


def _scrape(program: Program, token: Path) -> dict[str, Any]:
    if program.port is None:
        raise ValueError(f"{program.name} has metrics and no port")
    target = {"targets": [f"127.0.0.1:{program.port.number}"], "labels": {"service": program.name}}
    job: dict[str, Any] = {"job_name": program.name, "metrics_path": program.metrics, "static_configs": [target]}
    if program.protected_metrics:
        job["authorization"] = {"type": "Bearer", "credentials_file": str(token)}
    return job


def _probe(program: Program, config: Settings) -> dict[str, Any]:
    if program.health is None:
        raise ValueError(f"{program.name} has nothing to probe")
    return {
        "job_name": f"probe-{program.name}",
        "metrics_path": "/probe",
        "params": {"module": [program.name]},
        "static_configs": [{"targets": [program.health.url], "labels": {"service": program.name}}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "job", "replacement": "probe"},
            {"target_label": "__address__", "replacement": f"127.0.0.1:{config.monitoring.blackbox_port}"},
        ],
    }
