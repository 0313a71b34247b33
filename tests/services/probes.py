"""`python -m tests.services.probes REPORT.xml`: the probes of README.md with what came out in a run of pytest."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

TABLE = Path(__file__).with_name("README.md")
_ROW = re.compile(r"\| (?P<probe>[^|]+?) \| (?P<tests>`[^|]+`) \|")


def probes() -> dict[str, list[str]]:
    """Probe -> the tests that hold it, as `file::function` below tests/."""
    rows = map(_ROW.fullmatch, TABLE.read_text(encoding="utf-8").splitlines())
    return {row["probe"]: re.findall(r"`([^`]+)`", row["tests"]) for row in rows if row}


def outcomes(report: Path) -> dict[str, Counter[str]]:
    """Test -> how many of its cases passed, failed or were skipped, from pytest's JUnit XML."""
    found: dict[str, Counter[str]] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own report
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        file = str(case.get("classname")).removeprefix("tests.").replace(".", "/") + ".py"
        name = str(case.get("name")).partition("[")[0]
        found.setdefault(f"{file}::{name}", Counter())[kinds[0] if kinds else "passed"] += 1
    return found


def main(report: Path) -> int:
    """Print a line a probe; 1 where one failed or was not tried."""
    found, bad = outcomes(report), 0
    for probe, tests in probes().items():
        counts = sum((found.get(test, Counter({"not run": 1})) for test in tests), Counter())
        bad += set(counts) != {"passed"}
        told = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        print(f"{'ok ' if set(counts) == {'passed'} else 'BAD'} {probe}: {told}")  # noqa: T201
    return bool(bad)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
