"""OpenLineage events of runs, and what every one of them must hold."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from dsdc.settings import Settings, secrets
from services.airflow.environment import airflow_environment

_FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {"_producer": {"format": "uri"}, "_schemaURL": {"format": "uri"}},
    },
}
_DATASET = {
    "type": "object",
    "required": ["namespace", "name"],
    "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}, "facets": _FACETS},
}
#: What https://openlineage.io/spec/2-0-2/OpenLineage.json requires of a RunEvent.
RUN_EVENT = {
    "type": "object",
    "required": ["eventTime", "eventType", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventTime": {"type": "string", "format": "date-time"},
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "producer": {"type": "string", "format": "uri"},
        "schemaURL": {"type": "string", "pattern": "OpenLineage.json#/\\$defs/RunEvent$"},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": _FACETS},
        },
        "job": {
            "type": "object",
            "required": ["namespace", "name"],
            "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}, "facets": _FACETS},
        },
        "inputs": {"type": "array", "items": _DATASET},
        "outputs": {"type": "array", "items": _DATASET},
    },
}


def lineage_environment(config: Settings) -> dict[str, str]:
    """The part of the platform's own Airflow environment that this is about."""
    return {key: value for key, value in airflow_environment(config).items() if "OPENLINEAGE" in key}


def events_of(config: Settings) -> list[dict[str, Any]]:
    files = sorted((config.path("logs") / "openlineage").glob("events-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def kinds(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Job -> types of its events, as they came."""
    found: dict[str, list[str]] = defaultdict(list)
    for event in events:
        found[event["job"]["name"]].append(event["eventType"])
    return dict(found)


def flow(events: list[dict[str, Any]], job: str) -> tuple[set[str], set[str]]:
    """What a job's last COMPLETE event says it has read and written: tables by name, bytes by place."""
    event = next(e for e in reversed(events) if e["job"]["name"] == job and e["eventType"] == "COMPLETE")
    reads, writes = ({one["name"].rpartition(".public.")[2] for one in event[side]} for side in ("inputs", "outputs"))
    return reads, writes


def check(config: Settings, events: list[dict[str, Any]]) -> None:
    """They are what OpenLineage asks for, about this platform's own database, and tell no secret."""
    valid = Draft202012Validator(RUN_EVENT, format_checker=FormatChecker())
    url = config.owner_url()
    for event in events:
        valid.validate(event)
        assert event["job"]["namespace"] == config.database.name
        tables = [one for one in (*event["inputs"], *event["outputs"]) if one["namespace"] != "file"]
        assert {one["namespace"] for one in tables} <= {f"postgres://{url.host}:{url.port or 5432}"}
        assert all(one["name"].startswith(f"{url.database}.public.") for one in tables)
    _keeps_secrets(config, json.dumps(events))


def _keeps_secrets(config: Settings, told: str) -> None:
    hidden = [value.get_secret_value() for value in secrets().values.values()]
    password = config.owner_url().password or ""
    # A server that was there before the test may have a password that is a word like any other.
    for secret in (*hidden, *([password] if len(password) >= 20 else [])):
        assert secret not in told
    assert "dsdc_owner:" not in told
    assert "def " not in told, "no source code either"
