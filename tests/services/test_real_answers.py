"""The prediction service as it is started for real: documents go in, a model comes about, pages are answered."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dsdc.client import Client
from dsdc.errors import Conflict, NoChampion, NotFound, UnsupportedType
from dsdc.samples import Sample, generate
from services.supervisor.ports import free_port
from tests.projects import ROOT
from tests.services.platforms import Platform
from tests.services.stored import until, uploads

CLASSES = ("invoice", "letter")
DOCUMENTS = 16
PREPARE = """
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.training import train_model
from dsdc.pipeline.worker import run_stage

print(ingest_inbox().as_dict())
for stage in ("render", "text", "clean", "embed-image", "embed-text"):
    print(run_stage(stage).as_dict())
print(train_model(author="test").as_dict())
"""


@dataclass
class Real:
    """The real service beside the stand-in, over the same store; its model has another name."""

    platform: Platform
    folder: Path
    url: str
    env: dict[str, str]

    def client(self, role: str) -> Client:
        client = Client(self.platform.auth, self.url)
        client.sign_in(f"the-{role}", self.platform.passwords[f"the-{role}"])
        return client

    def start(self) -> None:
        with (self.platform.root / "logs" / "real.log").open("ab") as out:
            command = [sys.executable, "-m", "services.predict"]
            env = os.environ | self.platform.env | self.env
            self.platform.processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out))

    def wait(self, status: int, within_s: float = 300) -> httpx.Response:
        """Until /readyz answers so; the answer."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            try:
                answer = httpx.get(f"{self.url}/readyz", timeout=10)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == status and "being loaded" not in answer.text:
                return answer
            time.sleep(0.3)
        raise AssertionError(f"no {status}: {answer.text if answer is not None else 'no answer'}")

    def train(self) -> str:
        env = os.environ | self.platform.env | self.env | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PREPARE]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr[-4000:]
        return done.stdout


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Sample]]:
    folder = tmp_path_factory.mktemp("samples")
    return [(folder / s.file, s) for s in generate(folder, count=DOCUMENTS + 4, seed=3, slugs=CLASSES)]


@pytest.fixture(scope="module")
def real(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder, port = tmp_path_factory.mktemp("real"), free_port()
    (ROOT / "models" / "clip").mkdir(parents=True, exist_ok=True)
    (platform.root / "models" / "clip").symlink_to(ROOT / "models" / "clip")
    env = {
        "DSDC_PREDICT_PORT": str(port),
        "DSDC_PARSING_PROCESSES": "2",
        "DSDC_PREDICT_MAX_UPLOAD_MB": "20",
        "DSDC_TRAIN_MODEL_NAME": "real-head",
        "DSDC_TRAIN_EPOCHS": "20",
        "DSDC_MLFLOW_URI": f"sqlite:///{folder}/mlflow.db",
        "DSDC_INGEST_QUIET_S": "0",
    }
    yield Real(platform, folder, f"http://127.0.0.1:{port}", env)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_from_no_model_to_answers_with_lineage(real: Real, samples: list[tuple[Path, Sample]]) -> None:
    real.start()
    waiting = real.wait(503)
    assert "train_model" in waiting.json()["waiting_for"]["model"]
    known, unseen = samples[:DOCUMENTS], samples[DOCUMENTS:]
    with real.client("annotator") as client:
        with pytest.raises(NoChampion, match="train"):
            client.predict(known[0][0])
        for path, sample in known:
            target = real.platform.root / "data" / "to_ingest" / sample.label / path.name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
        real.train()
        real.wait(200)  # by itself: nobody asked for a reload
        assert {c.slug for c in client.model().classes} == set(CLASSES)
        _ask(client, unseen, known[0][0])
        _hand_in(real, client, unseen[2:])
    with real.client("model-admin") as admin:
        assert admin.reload_model().name == "real-head"


def _ask(client: Client, unseen: list[tuple[Path, Sample]], known: Path) -> None:
    path, sample = unseen[0]
    answer = client.predict(path)
    assert answer.label in CLASSES
    assert sum(rank.probability for rank in answer.top) == pytest.approx(1, abs=0.01)
    assert answer.pages == len(sample.pages)
    assert len(answer.neighbours) == 5
    assert {"total", "render", "text", "head"} <= set(answer.timings_ms)
    assert client.prediction(answer.prediction_id).label == answer.label

    lineage = client.lineage(answer.prediction_id)
    assert (lineage.document.sha256, lineage.requested_by) == (answer.document_id, "the-annotator")
    assert [page.page for page in lineage.pages] == list(range(1, answer.pages + 1))
    assert {e.of for page in lineage.pages for e in page.embeddings} == {"image", "text"}
    assert lineage.pages[0].text is not None
    assert lineage.pages[0].text.extraction in ("ocr", "text-layer")
    assert lineage.model.head_sha256 == client.model().head_sha256
    assert lineage.snapshot.documents == DOCUMENTS
    assert sum(n for splits in lineage.snapshot.labels.values() for n in splits.values()) == DOCUMENTS
    assert {(given.source, given.author) for given in lineage.snapshot.given} == {("import", "inbox")}
    labels = list(client.labels_behind(answer.prediction_id))
    assert {near.label_id for near in lineage.neighbours} <= {label.label_id for label in labels}
    assert len(labels) == DOCUMENTS
    assert {label.label for label in client.labels_behind(answer.prediction_id, label="letter")} == {"letter"}

    given = client.feedback(answer.prediction_id, sample.label)
    assert (given.source, given.author, given.prediction_id) == ("human", "the-annotator", answer.prediction_id)
    assert client.label_document(answer.document_id, sample.label).label_id == given.label_id  # said already
    life = [event.event for event in client.document_lineage(answer.document_id)]
    assert life[:2] == ["stored", "arrived"]
    assert [event for event in life if event in ("predicted", "feedback")] == ["predicted", "feedback"]
    near = client.similar(answer.document_id, limit=3).neighbours
    assert len(near) == 3
    assert answer.document_id not in {n.document_id for n in near}

    again = client.predict(path)
    assert (again.document_id, again.label) == (answer.document_id, answer.label)
    assert client.predict(known).label in CLASSES

    passing = client.predict(unseen[1][0], store=False)
    with pytest.raises(NotFound):
        client.similar(passing.document_id)
    with pytest.raises(Conflict, match="not kept"):
        client.feedback(passing.prediction_id, "letter")
    assert client.lineage(passing.prediction_id).pages == []
    with pytest.raises(UnsupportedType):
        client.predict(b"only text", name="text.pdf")


def _hand_in(real: Real, client: Client, unseen: list[tuple[Path, Sample]]) -> None:
    """One batch that is kept and one that is not; the stand-in, which would answer too, rests meanwhile."""
    platform = real.platform
    platform.processes[1].send_signal(signal.SIGSTOP)
    try:
        batches = [
            client.submit_batch([path], store=store) for store, (path, _) in zip((True, False), unseen, strict=True)
        ]
        kept, passing = (
            next(client.batch_items(client.wait_for_batch(batch.batch_id, timeout_s=600).batch_id)) for batch in batches
        )
    finally:
        platform.processes[1].send_signal(signal.SIGCONT)
    assert kept.prediction_id is not None
    assert passing.prediction_id is not None
    lineage = client.lineage(kept.prediction_id)
    assert (lineage.document.sha256, lineage.requested_by) == (kept.sha256, "the-annotator")
    assert len(lineage.pages) == client.prediction(kept.prediction_id).pages
    assert client.similar(kept.sha256).neighbours
    assert client.lineage(passing.prediction_id).pages == []
    with pytest.raises(NotFound):
        client.similar(passing.sha256)
    assert passing.label in CLASSES
    until(lambda: not uploads(platform))
    stored = {path.name for path in (platform.root / "data" / "raw").rglob("*") if path.is_file()}
    assert kept.sha256 in stored
    assert passing.sha256 not in stored
