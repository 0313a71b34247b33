"""The main job on documents made here, through Airflow and the API, as a user would run it."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from dsdc.cli.console import Bars, bars, err, out
from dsdc.client import Client
from dsdc.pipeline.assembly import assemble
from dsdc.pipeline.ingest import NOT_DOCUMENTS
from dsdc.pipeline.status import stage_counts
from dsdc.settings import Settings, secrets, settings
from services.airflow.rest import AirflowApi, DagRun

ADMIN = "admin"
FRESH = 8  # documents that the model has never seen


def run(count: int, seed: int) -> None:
    """Make samples, ingest and train through Airflow, ask the API about new documents, print where to look."""
    config = settings()
    started = time.monotonic()
    with bars() as progress:
        arrive(config, count, seed, progress)
        airflow = AirflowApi(config)
        _process(airflow, config, progress)
        _train(airflow, progress)
    _predict(config, seed + 1)
    out.print(f"\nThe main job took {time.monotonic() - started:.0f} s. Where to look:", highlight=False)
    _urls(config)


def arrive(config: Settings, count: int, seed: int, progress: Bars) -> None:
    """Put labelled samples into the inbox, each by one rename, so that no half-written file is ever seen."""
    from dsdc.samples import generate

    inbox = config.path("to_ingest")
    tell = progress.of("make samples")
    with tempfile.TemporaryDirectory(dir=inbox.parent, prefix=".samples-") as folder:
        made = Path(folder)
        generate(made, count=count, seed=seed, workers=2, progress=lambda done, total: tell(done, total - done))
        for file in sorted(p for p in made.rglob("*") if p.is_file() and p.name not in NOT_DOCUMENTS):
            target = inbox / file.relative_to(made)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


def _process(airflow: AirflowApi, config: Settings, progress: Bars) -> None:
    """Run ingest_and_process. The arriving files may have started a run already; ours then queues behind it."""
    ready = assemble(config)

    def show(_: DagRun) -> None:
        for stage, counts in stage_counts(ready).items():
            ended = counts["done"] + counts["skipped"] + counts["failed"]
            progress.step(stage, ended, counts["pending"] + counts["running"])

    airflow.wait_for_dag("ingest_and_process")
    airflow.follow("ingest_and_process", airflow.trigger("ingest_and_process"), show)


def _train(airflow: AirflowApi, progress: Bars) -> None:
    tell = progress.of("train")

    def show(run: DagRun) -> None:
        ended = sum(n for state, n in run.tasks.items() if state in ("success", "skipped"))
        tell(ended, sum(run.tasks.values()) - ended)

    airflow.wait_for_dag("train_model")
    airflow.follow("train_model", airflow.trigger("train_model"), show)


def _predict(config: Settings, seed: int) -> None:
    """Ask the API about documents that were not trained on."""
    from dsdc.samples import generate

    folder = Path(tempfile.mkdtemp(prefix="dsdc-fresh-"))
    try:
        samples = generate(folder, count=FRESH * 2, seed=seed)[:FRESH]
        with Client.from_settings(config) as client:
            client.sign_in(ADMIN, secrets().value("dsdc_admin"))
            client.reload_model()  # now, and not at the service's next look for a new champion
            out.print(
                f"\n{FRESH} documents that the model has never seen, answered by the prediction API:", highlight=False
            )
            right = sum(_ask(client, folder / sample.file, sample.label) for sample in samples)
            out.print(f"  {right} of {FRESH} right", highlight=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ask(client: Client, file: Path, label: str) -> bool:
    """Print what a document is, what the API says, and how sure it is; True when that is the same."""
    answer = client.predict(file)
    out.print(
        f"  {label:<24} -> [bold]{answer.label}[/], probability {answer.probability:.3f}, {answer.decision}",
        highlight=False,
    )
    return answer.label == label


def _urls(config: Settings) -> None:
    places = {
        "Streamlit": f"http://{config.streamlit.host}:{config.streamlit.port}",
        "Airflow": config.airflow.url,
        "MLflow": config.mlflow.uri,
        "API": f"{config.streamlit.predict_url}/v1/model",
        "Prometheus": f"http://127.0.0.1:{config.monitoring.prometheus_port}",
    }
    for name, url in places.items():
        out.print(f"  {name:<11} {url}", highlight=False)
    err.print(
        "User admin; passwords: DSDC_SECRET_DSDC_ADMIN (Streamlit, API) and DSDC_SECRET_AIRFLOW_ADMIN in .secrets."
    )
