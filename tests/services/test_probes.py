"""The table of probes and the tests agree."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from tests.projects import ROOT
from tests.services.probes import outcomes, probes

TESTS = ROOT / "tests"
#: Files all of whose tests are probes: each of them has its line.
PROBING = (
    "audit",
    "bombs",
    "floods",
    "openapi",
    "policies",
    "service_accounts",
    "throttling",
    "token_probes",
    "uploads",
    "zz_logs",
)


def functions(file: Path) -> set[str]:
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_of_the_table_exists() -> None:
    named = {test for tests in probes().values() for test in tests}
    assert len(probes()) > 50
    missing = {t for t in named if t.partition("::")[2] not in functions(TESTS / t.partition("::")[0])}
    assert missing == set()


def test_every_probing_test_is_in_the_table() -> None:
    named = {test for tests in probes().values() for test in tests}
    files = [TESTS / "services" / f"test_{name}.py" for name in PROBING]
    found = {f"services/{file.name}::{name}" for file in files for name in functions(file)}
    assert found - named == set()


def test_a_report_is_read(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.services.test_web" name="test_x[1]"/>'
        '<testcase classname="tests.services.test_web" name="test_x[2]"><failure/></testcase>'
        '<testcase classname="tests.services.test_web" name="test_y"><skipped/></testcase></testsuite></testsuites>'
    )
    assert outcomes(report) == {
        "services/test_web.py::test_x": Counter(passed=1, failure=1),
        "services/test_web.py::test_y": Counter(skipped=1),
    }
