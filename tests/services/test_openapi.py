"""Both services against their own OpenAPI: no 5xx, no status that is not declared, no answer of another form.

schemathesis makes the requests, from examples, from the edges of every schema, at random, and along the links from one
operation to the next; it learns of routes from OpenAPI alone, so new ones are tested without a word here.
`DSDC_FUZZ_EXAMPLES=500 ./scripts/test.sh tests/services/test_openapi.py` tries longer, and other requests each time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dsdc.db.repositories.users import ROLES
from services.supervisor.ports import free_port
from tests.projects import ROOT
from tests.services.platforms import Platform

LONGER = "DSDC_FUZZ_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("DSDC_FUZZ_EXAMPLES", "3"))
HERE = Path(__file__).parent
SERVICES = ("auth", "predict")
PHASES = ("examples", "coverage", "fuzzing", "stateful")


@pytest.fixture(scope="module")
def fuzzed(platform: Platform) -> Iterator[dict[str, str]]:
    """Services of their own over the same store, whose throttle forgives everything."""
    ports = {name: free_port() for name in SERVICES}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    env = {f"DSDC_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    env |= {"DSDC_AUTH_MAX_FAILURES": "1000000"}
    started = [
        platform.start("services.auth", "fuzzed-auth.log", urls["auth"], **env),
        platform.start("tests.services.stand_in_predict", "fuzzed-predict.log", urls["predict"], **env),
    ]
    yield urls
    for process in started:
        process.terminate()
        process.wait(120)


def run(url: str, folder: Path, **env: str) -> dict[str, Any]:
    """What schemathesis reports; fails with its words where it found anything."""
    report = folder / "report.json"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"),
        *(f"{url}/openapi.json", "--max-examples", str(EXAMPLES), "--report-json-path", str(report)),
        *("--generation-database", "none", "--continue-on-failure", "--warnings", "off", "--no-color"),
        # How fast the machine is, is no matter of the services.
        *("--request-timeout", "60", "--suppress-health-check", "too_slow"),
        *(() if LONGER else ("--seed", "1")),
    ]
    env = {"SCHEMATHESIS_HOOKS": "tests.services.openapi_hooks", "PYTHONPATH": str(ROOT)} | env
    done = subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, re.sub(r"eyJ[\w.-]+", "<token>", done.stdout + done.stderr)[-20_000:]
    found: dict[str, Any] = json.loads(report.read_text())
    assert found["complete"]
    assert found["operations"]["tested"] == found["operations"]["total"]
    assert found["test_cases"]["generated"] > 100
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_with_an_admins_token(platform: Platform, fuzzed: dict[str, str], service: str, tmp_path: Path) -> None:
    name = platform.user("admin")
    admin, spare = platform.signed_in(name).tokens, platform.signed_in(name).tokens
    assert admin is not None
    assert spare is not None
    bearer = f"Bearer {admin.access_token}"
    me = f"{fuzzed['auth']}/users/me"
    env = {"DSDC_FUZZ_TOKEN": admin.access_token, "DSDC_FUZZ_SPARE": spare.access_token}
    env["DSDC_FUZZ_SELF"] = httpx.get(me, headers={"Authorization": bearer}).json()["id"]
    found = run(fuzzed[service], tmp_path, **env)
    assert {phase: told["status"] for phase, told in found["phases"].items()} == dict.fromkeys(PHASES, "success")
    assert httpx.get(me, headers={"Authorization": bearer}).status_code == 200  # it was let in until the end


@pytest.mark.parametrize("service", SERVICES)
def test_without_a_token(fuzzed: dict[str, str], service: str, tmp_path: Path) -> None:
    run(fuzzed[service], tmp_path)


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_says_what_it_answers(fuzzed: dict[str, str], service: str) -> None:
    """No catch-all, and problems wherever something can go wrong."""
    schema = httpx.get(f"{fuzzed[service]}/openapi.json").json()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            declared = set(operation["responses"])
            assert "default" not in declared, (path, method)
            assert any(status.startswith("2") for status in declared), (path, method)
            assert ("401" in declared) >= (operation["x-roles"] != ["public"]), (path, method)
            assert ("403" in declared) == (set(operation["x-roles"]) < set(ROLES)), (path, method)


def test_auth_shows_an_example_of_everything_it_takes(fuzzed: dict[str, str]) -> None:
    schema = httpx.get(f"{fuzzed['auth']}/openapi.json").json()
    models = schema["components"]["schemas"]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    assert parameter["schema"].get("examples") or parameter.get("examples"), (path, parameter["name"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                model = models[content["schema"]["$ref"].rpartition("/")[2]]
                fields = [models.get(f.get("$ref", "").rpartition("/")[2], f) for f in model["properties"].values()]
                assert content.get("examples") or any("examples" in field for field in fields), path


def test_links_lead_from_what_is_made_to_what_can_be_done_with_it(fuzzed: dict[str, str]) -> None:
    def targets(service: str, path: str, status: str) -> dict[str, dict[str, str]]:
        response = httpx.get(f"{fuzzed[service]}/openapi.json").json()["paths"][path]["post"]["responses"][status]
        return {name: link["parameters"] for name, link in response["links"].items()}

    made = targets("auth", "/users", "201")
    assert {"user_id": "$response.body#/id"} in made.values()
    revoke = [link for name, link in targets("auth", "/users/{user_id}/api-keys", "201").items() if "revoke" in name]
    assert revoke == [{"user_id": "$response.body#/user_id", "key_id": "$response.body#/id"}]
    assert len(targets("predict", "/v1/predict", "200")) >= 5
