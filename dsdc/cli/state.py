"""`dsdc status` and `dsdc doctor`: where things stand, and what is wrong with this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from dsdc.cli.console import bars, out, pairs, print_json, table
from dsdc.errors import MissingSystemPackage, SecretsError, SetupError
from dsdc.settings import Settings, secrets, settings

# Program -> (Debian package, what needs it).
PROGRAMS = {
    "tesseract": ("tesseract-ocr", "OCR"),
    "pdftoppm": ("poppler-utils", "PDF pages that pdfium cannot draw"),
    "prometheus": ("prometheus", "metrics"),
    "prometheus-alertmanager": ("prometheus-alertmanager", "alerts"),
    "prometheus-blackbox-exporter": ("prometheus-blackbox-exporter", "health of services without metrics"),
    "prometheus-postgres-exporter": ("prometheus-postgres-exporter", "the database's metrics"),
}
PACKAGES = ("torch", "open-clip-torch", "apache-airflow", "mlflow", "fastapi", "streamlit", "sqlalchemy", "pgvector")


def attach(app: typer.Typer) -> None:
    app.command("status")(status)
    app.command("doctor")(doctor)
    app.command("fsck")(fsck)


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Rows, open and failed work, labels, the champion, and which services answer."""
    from dsdc.pipeline.status import platform_status

    found = platform_status()
    if as_json:
        print_json(found)
        return
    pairs("Rows", found["tables"])
    columns = ["pending", "running", "done", "skipped", "failed"]
    rows = [[name, *(counts[c] for c in columns)] for name, counts in found["stages"].items()]
    table("Stages", ["stage", *columns], rows)
    pairs("Services", found["services"])
    model = found["champion"]
    if model is None:
        out.print("No champion yet: run the DAG train_model, or dsdc train.")
    else:
        measured = ", ".join(f"{key} {value:.3f}" for key, value in model["metrics"].items())
        out.print(f"Champion: {model['name']} version {model['version']} ({measured})")


def doctor() -> None:
    """Check this machine and this configuration; exit status 1 if something has to be mended."""
    from dsdc.pipeline.status import run_check

    checks = [run_check(name, look) for name, look in _looks().items()]
    table("Doctor", ["", "check", "detail"], [["ok" if c.ok else "FAIL", c.name, c.detail] for c in checks])
    if not all(check.ok for check in checks):
        out.print("Mend what says FAIL, top to bottom, and run this again.")
        sys.exit(1)


def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Do what is safe; no document is thrown away.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Only whether files are there, not their hashes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare rows with bytes, bytes with rows, and rows with each other; exit status 1 unless all is well."""
    from dsdc.pipeline.fsck import fsck as check
    from dsdc.storage import open_storage

    config = settings()
    with bars() as progress:
        tell = progress.of("fsck")
        report = check(config, open_storage(config), repair=repair, hashes=not quick, progress=tell)
    if as_json:
        print_json(report.as_dict())
    else:
        out.print(f"{report.documents} documents, {report.images} page images, {report.rejected} rejected files")
        rows = [[f.kind, f.where, f.detail, "repaired" if f.repaired else ""] for f in report.findings]
        if rows:
            table("Findings", ["", "where", "what", ""], rows)
        else:
            out.print("Everything is as the database says.")
    if not report.clean:
        sys.exit(1)


def _looks() -> dict[str, Callable[[], str]]:
    config = settings()
    looks: dict[str, Callable[[], str]] = {
        "python": _python,
        "settings": lambda: f"valid; root {config.root}",
        "secrets": lambda: _secrets(config),
        "disk": lambda: _disk(config),
    }
    looks |= {f"program {name}": _program(name, *need) for name, need in PROGRAMS.items()}
    looks |= {f"package {name}": _package(name) for name in PACKAGES}
    looks["ocr languages"] = lambda: _languages(config)
    looks["clip"] = lambda: _clip(config)
    looks["device"] = _device
    looks["database"] = _database
    looks["champion"] = lambda: _champion(config)
    return looks


def _python() -> str:
    if sys.version_info[:2] != (3, 11):
        raise SetupError(f"Python {sys.version.split()[0]} runs; the platform needs 3.11.")
    return sys.version.split()[0]


def _secrets(config: Settings) -> str:
    found = secrets()
    mode = (config.root / ".secrets").stat().st_mode & 0o777 if (config.root / ".secrets").exists() else 0o600
    if mode & 0o077:
        raise SecretsError(f".secrets has mode {mode:o}.", hint="Run chmod 600 .secrets.")
    return f"{len(found.values)} values, none weak"


def _disk(config: Settings) -> str:
    free = shutil.disk_usage(config.root).free / 1e9
    if free < 2:
        raise SetupError(f"Only {free:.1f} GB are free.", hint="Free at least 2 GB.")
    return f"{free:.0f} GB free"


def _program(name: str, package: str, purpose: str) -> Callable[[], str]:
    def look() -> str:
        path = shutil.which(name)
        if path is None:
            raise MissingSystemPackage(f"{name} is missing ({purpose}).", hint=f"apt-get install {package}")
        return path

    return look


def _package(name: str) -> Callable[[], str]:
    def look() -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            raise SetupError(f"{name} is not installed.", hint="Run ./scripts/install.sh.") from None

    return look


def _languages(config: Settings) -> str:
    try:
        listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingSystemPackage("tesseract does not run.", hint="apt-get install tesseract-ocr") from error
    have = set(listed.stdout.split()) | set(listed.stderr.split())
    missing = [code for code in config.ocr.languages.split("+") if code not in have]
    if missing:
        packages = " ".join(f"tesseract-ocr-{code.replace('_', '-')}" for code in missing)
        raise MissingSystemPackage(f"OCR languages missing: {', '.join(missing)}.", hint=f"apt-get install {packages}")
    return config.ocr.languages


def _clip(config: Settings) -> str:
    from dsdc.processors.registry import configured

    embedder = configured(config).embedder
    return f"{config.clip.model}, weights sha256 {embedder.weights_sha256[:16]}…"


def _champion(config: Settings) -> str:
    from dsdc.ml import recipe, registry
    from dsdc.pipeline.match import require_match
    from dsdc.processors.registry import configured

    found = registry.with_alias(config, "champion")
    if found is None:
        return "none yet: run the DAG train_model, or dsdc train"
    head = recipe.load(found.folder, head_sha256=found.head_sha256)
    require_match(f"{found.name} version {found.version}", head.recipe.origin, configured(config))
    return f"{found.name} version {found.version}, head sha256 {found.head_sha256[:16]}…"


def _database() -> str:
    from dsdc.pipeline.status import database_check

    return database_check()


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name(0)}"
    return f"cpu, {os.cpu_count()} cores"
