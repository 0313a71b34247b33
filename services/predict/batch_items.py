"""One document of a batch from its claim to its end; all of this blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from dsdc.db.repositories.batches import Batches, ItemClaim
from dsdc.db.repositories.idempotency import IdempotencyKeys
from dsdc.db.session import retrying, transaction
from dsdc.errors import PLATFORM_FAULTS, Busy, BytesMissing, DocumentError, DsdcError, GivenUp, HashMismatch
from dsdc.failpoints import reach
from dsdc.log import get_logger
from dsdc.pipeline.leases import Leases, wait_before_retry_s, worker_name
from dsdc.pipeline.uploads import discard, release, upload_key
from dsdc.settings import Settings
from dsdc.storage import Storage
from dsdc.web.contract import Prediction
from dsdc.web.errors import described, telling
from services.predict.answering import Answering
from services.predict.metrics import PredictMetrics

log = get_logger(__name__)

_ABANDONED_S = 3600.0  # far longer than a request's body may take to arrive
_LEFT_OVERS = 100  # whose bytes are removed in one go


def renew(claims: Sequence[ItemClaim], lease_s: float) -> set[int]:
    with transaction("serve") as session:
        return Batches(session).renew(claims, lease_s=lease_s)


class ItemWork:
    """Claims, answers and ends documents of batches. Safe to share between threads."""

    def __init__(self, config: Settings, answerer: Answering, storage: Storage, metrics: PredictMetrics) -> None:
        self._config = config
        self._answerer = answerer
        self._storage = storage
        self._metrics = metrics
        self._name = worker_name(config)
        self.leases: Leases[ItemClaim] = Leases(config.pipeline.claim_lease_s, renew)

    @property
    def _most_attempts(self) -> int:
        return self._config.predict.batch_attempts

    def claim(self, *, alone: bool) -> ItemClaim | None:
        """The next document that is due, held from now on; with `alone`, also one that may end the service."""
        with transaction("serve") as session:
            batches = Batches(session)
            claim = self._claim(batches, alone=False) or (self._claim(batches, alone=True) if alone else None)
        if claim is not None:
            self.leases.hold([claim])
            reach("batch.claimed")
        return claim

    def _claim(self, batches: Batches, *, alone: bool) -> ItemClaim | None:
        lease_s = self._config.pipeline.claim_lease_s
        return batches.claim(worker=self._name, lease_s=lease_s, most_attempts=self._most_attempts, alone=alone)

    def answer(self, claim: ItemClaim) -> None:
        """See to one document; whatever happens, it is recorded or left to be taken again."""
        try:
            self._see_to(claim)
        except DsdcError as error:
            # Nothing could be recorded: the lease runs out, and somebody takes it over.
            log.warning("batch.not_recorded", **_which(claim), error=str(error))
        finally:
            self.leases.drop([claim])

    def _see_to(self, claim: ItemClaim) -> None:
        try:
            self._answer(claim)
        except DocumentError as error:
            self._end(claim, problem=described(error))
        except (BytesMissing, HashMismatch) as error:
            self._try_again(claim, error)
        except (*PLATFORM_FAULTS, Busy) as error:
            log.warning("batch.interrupted", **_which(claim), error=str(error))
            self.give_back(claim, wait_s=wait_before_retry_s(self._config, 0))
        # Whatever an engine may raise over one document: it is tried again, so often and no more.
        except Exception as error:
            log.warning("batch.failed", **_which(claim), exc_info=error)
            self._try_again(claim, error)

    def _answer(self, claim: ItemClaim) -> None:
        if not retrying(lambda: self._is_answered(claim)):
            given = self._answerer.answer(
                self._read(claim),
                name=claim.name,
                author=claim.owner,
                store=claim.store,
                prediction_id=claim.answer_id,
            )
            prediction = Prediction.model_validate(given.as_dict())
            self._metrics.predicted(prediction, prediction.timings_ms)
        reach("batch.answered")
        self._end(claim, prediction_id=claim.answer_id)

    def _read(self, claim: ItemClaim) -> bytes:
        data = self._storage.read(upload_key(claim.sha256))
        if hashlib.sha256(data).hexdigest() != claim.sha256:
            raise HashMismatch
        return data

    @staticmethod
    def _is_answered(claim: ItemClaim) -> bool:
        """Whether somebody who died before he could say so has answered it."""
        with transaction("serve") as session:
            return Batches(session).answered(claim.answer_id)

    def _try_again(self, claim: ItemClaim, error: Exception) -> None:
        tried = claim.failures + claim.crashes + 1
        if tried >= self._most_attempts:
            self._end(claim, problem=described(_given_up(error, tried)))
        else:
            self.give_back(claim, wait_s=wait_before_retry_s(self._config, claim.failures), failed=True)

    def _end(
        self, claim: ItemClaim, *, prediction_id: UUID | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        def finish() -> bool:
            with transaction("serve") as session:
                return Batches(session).finish(claim, prediction_id=prediction_id, problem=problem)

        if not retrying(finish):
            log.warning("batch.lost", **_which(claim))
            return
        self._metrics.batch_items.labels("failed" if prediction_id is None else "done").inc()
        reach("batch.ended")
        self._release(claim.id, claim.sha256)

    def _release(self, item_id: int, sha256: str) -> None:
        try:
            release(self._storage, item_id, sha256)
        except DsdcError as error:
            log.warning("batch.bytes_kept", sha256=sha256, error=str(error))  # `tidy` sees to it

    def give_back(self, claim: ItemClaim, *, wait_s: float = 0.0, failed: bool = False) -> None:
        """Let somebody take it again. A database that does not answer lets the lease expire instead."""
        try:
            with transaction("serve") as session:
                Batches(session).give_back(claim, wait_s=wait_s, failed=failed)
        except DsdcError as error:
            log.warning("batch.not_given_back", **_which(claim), error=str(error))

    def tidy(self) -> None:
        """See to what dead services and cancelled batches have left."""
        with transaction("serve") as session:
            batches = Batches(session)
            batches.drop_cancelled()
            lost = batches.crashed(most_attempts=self._most_attempts)
            for claim in lost:
                batches.finish(claim, problem=described(_died(claim)))
            left_over, abandoned = batches.left_over(_LEFT_OVERS), batches.abandoned(_ABANDONED_S)
            self._metrics.batch_waiting.set(batches.waiting())
            IdempotencyKeys(session).forget_expired()
        self._metrics.batch_items.labels("failed").inc(len(lost))
        for item_id, sha256 in left_over:
            self._release(item_id, sha256)
        for batch_id in abandoned:
            discard(self._storage, batch_id)


def _which(claim: ItemClaim) -> dict[str, Any]:
    return {"batch": str(claim.batch_id), "position": claim.position}


def _given_up(error: Exception, tried: int) -> GivenUp:
    why = telling(error) if isinstance(error, DsdcError) else "Something went wrong on our side."
    return GivenUp(f"{why} It was given up after {tried} attempts.")


def _died(claim: ItemClaim) -> GivenUp:
    tried = claim.failures + claim.crashes + 1
    return GivenUp(
        f"The service ended while it worked on this document, and it was given up after {tried} attempts.",
        hint="Open it and save it again, or try it alone at POST /v1/predict.",
    )
