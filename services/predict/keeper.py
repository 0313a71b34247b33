"""Keeps the champion loaded: at the start, when another version becomes champion, and when somebody asks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from copy import copy

from starlette.concurrency import run_in_threadpool

from dsdc.db.repositories.models import Models
from dsdc.db.session import transaction
from dsdc.errors import DsdcError
from dsdc.log import get_logger
from dsdc.web.health import Waiting
from services.predict.answering import Answering, Model
from services.predict.metrics import PredictMetrics

log = get_logger(__name__)

WATCH_S = 10.0


class ModelKeeper:
    """Loads in a thread, one load at a time; what serves goes on serving until the next one is there."""

    def __init__(self, answerer: Answering, model_name: str, metrics: PredictMetrics) -> None:
        self._answerer = answerer
        self._model_name = model_name
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._trouble: DsdcError | None = None
        self._refused: int | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def model(self) -> Model:
        """The model that serves.

        Raises:
            Waiting: it is being loaded for the first time.
            DsdcError: why there is none: NoChampion, WeightsError, ModelMismatch, DatabaseUnavailable.
        """
        model = self._answerer.model
        if model is not None:
            return model
        if self._trouble is not None:
            raise copy(self._trouble)  # a copy: an exception raised again and again keeps every traceback
        raise Waiting("the model is being loaded")

    async def check(self) -> None:
        self.model()

    async def load(self) -> Model:
        """Load the champion now; raises what `Answerer.load` raises, and then what served still serves."""
        async with self._turn:
            try:
                model = await run_in_threadpool(self._answerer.load)
            except DsdcError as error:
                self._trouble = error
                raise
            self._trouble = None
            self._metrics.serves(model)
            return model

    async def _watch(self) -> None:
        while True:
            try:
                await self._once()
            # Whatever a broken model or store may raise: what serves goes on serving, and the next look may succeed.
            except Exception:
                log.exception("model.watch_failed")
            await asyncio.sleep(WATCH_S)

    async def _once(self) -> None:
        serving, known = self._answerer.model, self._trouble
        try:
            wanted = await run_in_threadpool(self._champion)
            if serving is None or wanted not in (None, serving.version, self._refused):
                self._refused = wanted  # tried once; another load of the same needs POST /v1/model/reload
                await self.load()
        except DsdcError as error:
            self._trouble = error
            if serving is not None or known is None or str(known) != str(self._trouble):
                version = None if serving is None else serving.version
                log.warning("model.not_loaded", kind=type(error).__name__, error=str(error), serving=version)

    def _champion(self) -> int | None:
        with transaction("serve") as session:
            champion = Models(session).with_alias(self._model_name, "champion")
            return champion.version if champion else None
