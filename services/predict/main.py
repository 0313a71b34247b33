"""The application of `predict`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from dsdc.db.session import use_role
from dsdc.settings import Settings
from dsdc.storage import Storage, open_storage
from dsdc.taxonomy import Taxonomy
from dsdc.web.app import build_app
from dsdc.web.guard import Guard
from dsdc.web.health import database_check
from dsdc.web.metrics import HttpMetrics
from dsdc.web.tokens import TokenVerifier
from dsdc.web.trust import RemoteTrust, TrustKeeper
from dsdc.web.uploads import FRAMING, PART_FRAMING
from services.predict.answering import Answering
from services.predict.batch_items import ItemWork
from services.predict.batch_routes import BATCHES_PATH, batch_routes
from services.predict.batch_worker import BatchWorker
from services.predict.bench import Bench
from services.predict.intake import Intake
from services.predict.keeper import ModelKeeper
from services.predict.metrics import PredictMetrics
from services.predict.once import Once
from services.predict.routes import PREDICT_PATH, Parts, routers


def create_app(config: Settings, answerer: Answering | None = None) -> FastAPI:
    """`predict`, ready to be served; the model is loaded in the background once it runs."""
    use_role("serve")
    storage = open_storage(config)
    answerer = answerer or _answerer(config, storage)
    http = HttpMetrics()
    metrics = PredictMetrics(http)
    verifier = TokenVerifier(config.auth)
    remote = RemoteTrust(verifier, config.auth.url)
    trust = TrustKeeper(verifier, remote.refresh)
    bench = Bench(config.predict.workers, config.predict.queue, metrics)
    keeper = ModelKeeper(answerer, config.train.model_name, metrics)
    once = Once(config)
    parts = Parts(config, answerer, keeper, bench, metrics, Taxonomy.from_settings(config.taxonomy), once)
    batches = BatchWorker(config, ItemWork(config, answerer, storage, metrics), keeper, bench)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await trust.start()
        keeper.start()
        once.start()
        batches.start()
        yield
        await batches.stop()
        once.stop()
        await keeper.stop()
        await trust.stop()
        await remote.close()
        bench.close()

    return build_app(
        "DSDC predict",
        description="Says what class a document is of, how sure that is, and everything the answer stands on.",
        routers=[*routers(parts), batch_routes(Intake(config, storage, once, metrics), batches)],
        guard=Guard(verifier, audited={"POST /v1/model/reload": "model.reload"}),
        metrics=http,
        checks={"model": keeper.check, "database": database_check("serve"), "keys": trust.check},
        lifespan=lifespan,
        body_limits=_body_limits(config),
    )


def _body_limits(config: Settings) -> dict[str, int]:
    """Bytes that a body may have where it holds files."""
    mib, predict = 1024 * 1024, config.predict
    framing = FRAMING + PART_FRAMING * predict.batch_max_files
    return {PREDICT_PATH: predict.max_upload_mb * mib + FRAMING, BATCHES_PATH: predict.batch_max_mb * mib + framing}


def _answerer(config: Settings, storage: Storage) -> Answering:
    # Imported here: it brings torch, which a test with a stand-in does not wait for.
    from dsdc.pipeline.answer import Answerer

    return Answerer(config, storage)
