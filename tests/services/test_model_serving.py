"""Which model answers, and from what: changed under load, refused where it does not fit, content with the image."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image, ImageDraw

from dsdc.ml import fit, registry
from dsdc.ml.cascade import fit_cascade
from dsdc.pipeline import answer, evaluation, training
from dsdc.pipeline.assembly import STAGES, Assembly, bind, register
from dsdc.pipeline.training import TrainReport, train_model
from dsdc.pipeline.worker import run_stage
from dsdc.processors.sandbox import Parsers, SandboxedReader, SandboxedRenderer
from dsdc.settings import Settings
from dsdc.storage import open_storage
from tests.fake_processors import WidthReader
from tests.faults.models import Service, service, use_shades
from tests.pipeline.test_training import bring, page, scalar
from tests.processes import lives, parsers_of
from tests.services.stored import until

SOME = 12  # labelled documents a class
CLIENTS = 4  # that ask at once


@pytest.fixture
def config(database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)  # an MLflow store without a server keeps its files beside the process
    return use_shades(monkeypatch, f"sqlite:///{tmp_path}/mlflow.db")


def use(patch: pytest.MonkeyPatch, config: Settings, **other: Any) -> None:
    """From now on the platform runs with these processors."""
    processors = replace(training.assemble(config).processors, **other)

    def assemble(_: Settings, storage: object = None) -> Assembly:
        return bind(config, processors, register(processors), open_storage(config))

    for module in (training, evaluation, answer):
        patch.setattr(module, "assemble", assemble)


def learn(seed: int) -> TrainReport:
    """A model, quickly."""
    return train_model(author="test", overrides={"seed": seed, "folds": 2, "members": 1})


def promote(config: Settings, version: int) -> None:
    wanted = registry.by_version(config, version)
    registry.set_alias(config, "champion", wanted.id, author="test", reason="test")


def post(running: Service, data: bytes, **params: str) -> Any:
    return running.http.post("/v1/predict", files={"file": ("page.png", data, "image/png")}, params=params)


def test_no_request_is_lost_when_the_model_changes_under_load(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(config, SOME)
    heads = {n: learn(n).head_sha256 for n in (1, 2)}
    promote(config, 1)
    stop = threading.Event()
    said: list[tuple[int, str, str]] = []

    def ask(running: Service, client: int) -> None:
        for turn in count():
            if stop.is_set():
                return
            given = post(running, page("letter", 1000 * client + turn), store="false")
            versions = given.json().get("versions", {})
            said.append((given.status_code, versions.get("model", given.text), versions.get("head_sha256", "")))

    with service(monkeypatch) as running, ThreadPoolExecutor(CLIENTS) as clients:
        running.until(ready=True)
        asking = [clients.submit(ask, running, client) for client in range(CLIENTS)]
        try:
            for turn in range(6):
                promote(config, 2 - turn % 2)
                assert running.reload().status_code == 200
                enough = len(said) + 2 * CLIENTS  # one of each client may have been asked before
                until(lambda enough=enough: len(said) >= enough)
        finally:
            stop.set()
        careful = post(running, page("memo", 700), cascade="auto").json()["versions"]
        for task in asking:
            task.result()
    assert {status for status, _, _ in said} == {200}
    assert {(model.split()[-1], head) for _, model, head in said} == {(str(n), head) for n, head in heads.items()}
    assert (careful["evidence"], careful["cascade"]) == ("both", {"threshold": None}), "36 documents promise nothing"


class Spanish(WidthReader):
    params: Mapping[str, Any] = {"languages": "spa"}  # type: ignore[assignment]


def test_a_model_that_learnt_from_another_reader_is_refused_and_the_old_one_serves(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(config, SOME)
    learn(1)
    with service(monkeypatch) as running:
        running.until(ready=True)
        use(monkeypatch, config, reader=Spanish())  # elsewhere, where somebody reprocesses and trains
        for stage in STAGES:
            run_stage(stage, assembly=training.assemble(config))
        report = learn(2)
        assert (report.version, report.promoted) == (2, True), "the old one cannot answer there"
        refused = running.reload()
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:dsdc:problem:model-mismatch")
        said = refused.json()["detail"]
        assert "text is widths 1 with other parameters (languages)" in said and "`dsdc reprocess`" in said
        assert running.version() == 1
        assert running.ask(page("memo", 900))["label"] == "memo"
        assert running.waits_for() == {}
    with service(monkeypatch) as restarted:
        restarted.until(ready=True)
        assert restarted.version() == 2


def text_rows(document_id: str) -> Any:
    return scalar(f"SELECT count(*) FROM raw_texts WHERE document_id = '{document_id}'")


def test_where_the_image_is_enough_nothing_is_read_until_the_workers_come(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "fit_cascade", partial(fit_cascade, most_lost=0.1))  # what 36 documents can promise
    bring(config, SOME)
    learn(1)
    with service(monkeypatch) as running:
        running.until(ready=True)
        quick = post(running, page("invoice", 700), cascade="auto").json()
        assert quick["label"] == "invoice"
        assert (quick["versions"]["evidence"], "text" in quick["versions"]) == ("image", False)
        assert 0 <= quick["versions"]["cascade"]["threshold"] <= 1
        assert "text" not in quick["timings_ms"]
        (seen,) = running.http.get(f"/v1/predictions/{quick['prediction_id']}/lineage").json()["pages"]
        assert (seen["text"], [e["of"] for e in seen["embeddings"]]) == (None, ["image"])
        assert text_rows(quick["document_id"]) == 0

        usual = post(running, page("invoice", 701)).json()
        assert (usual["versions"]["evidence"], "cascade" in usual["versions"]) == ("both", False), "off by default"
        assert text_rows(usual["document_id"]) == 1

        ready = training.assemble(config)
        assert [run_stage(stage, assembly=ready).done for stage in STAGES] == [0, 0, 1, 1, 0, 1]
        assert text_rows(quick["document_id"]) == 1
        again = post(running, page("invoice", 700), cascade="auto").json()
        assert again["versions"]["evidence"] == "both", "all of it is in the store by now"
        assert "render" not in again["timings_ms"]
        assert post(running, page("invoice", 702), cascade="perhaps").status_code == 422


def much_to_read() -> bytes:
    """A page that takes a second to read."""
    image = Image.new("L", (1600, 2200), 255)
    for line in range(60):
        ImageDraw.Draw(image).text((60, 30 + 35 * line), "many words on every line " * 5, fill=0, font_size=22)
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@contextmanager
def every_child_dies(number: int) -> Iterator[None]:
    """Whoever begins to parse, or waits to, is ended by this signal; afterwards none of them is left."""
    over = threading.Event()
    hit: list[psutil.Process] = []

    def work() -> None:
        while not over.wait(0.05):
            for child in parsers_of():
                with suppress(psutil.NoSuchProcess):
                    child.send_signal(number)
                    hit.append(child)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        # One that dies a little later is one too many for the next request.
        while any(lives(child.pid) for child in hit):
            time.sleep(0.01)


@pytest.fixture
def parsed_outside(config: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Documents are rendered and read in child processes, as they really are; a model is there."""
    limited = config.parsing.model_copy(update={"processes": 2})
    parsers = Parsers(limited, config.render, config.ocr)
    use(
        monkeypatch,
        config,
        renderer=SandboxedRenderer(config.render, parsers),
        reader=SandboxedReader(config.ocr, parsers),
        keep_warm=parsers.keep_warm,
    )
    bring(config, 6)
    learn(1)
    parsers.close()
    yield config
    parsers.close()


ENDINGS: dict[str, tuple[int, int, str]] = {
    "of its own": (signal.SIGSEGV, 422, "crashes-parsers"),
    "from outside": (signal.SIGKILL, 503, "parser-killed"),
}


def test_a_parser_that_dies_costs_one_request(parsed_outside: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsers_of() == []
    with service(monkeypatch) as running:
        running.until(ready=True)
        assert len(parsers_of()) == 2, "started before anybody asks"
        before, hard = running.ask(page("letter", 700)), much_to_read()
        for ending, (number, status, kind) in ENDINGS.items():
            with every_child_dies(number):
                refused = post(running, hard, store="false")
            assert (refused.status_code, refused.json()["type"]) == (status, f"urn:dsdc:problem:{kind}"), ending
            assert ("retry-after" in refused.headers) == (status == 503)
            assert running.http.get("/healthz").status_code == 200
            assert post(running, hard, store="false").status_code == 200, f"{ending}: the next request goes well"
        assert len(parsers_of()) == 2
        assert running.ask(page("letter", 700))["label"] == before["label"]
