"""The routes of batches, and what they tell of one."""

from __future__ import annotations

from typing import Annotated, Any, get_args
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from dsdc.db.repositories.batches import Batches, Summary
from dsdc.db.session import transaction
from dsdc.errors import NotFound
from dsdc.web.contract import Batch, BatchItem, BatchItems, BatchState, ItemState
from dsdc.web.guard import Caller, CallerDep, GuardedRoute, anyone_signed_in
from dsdc.web.uploads import multipart_body
from services.predict.batch_worker import BatchWorker
from services.predict.intake import Intake
from services.predict.once import IdempotencyKeyHeader

BATCHES_PATH = "/v1/batches"
_UPLOAD = multipart_body("file", {"store": {"type": "boolean", "default": True}}, many=True)
_STORE = Query(description="Keep the documents; false keeps their hashes and the answers.")
_ACCEPTED = {202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "Where to ask for it."}}}}


def batch_routes(intake: Intake, worker: BatchWorker) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["batches"])
    one = BATCHES_PATH + "/{batch_id}"

    @routes.post(
        BATCHES_PATH,
        openapi_extra=anyone_signed_in() | _UPLOAD,
        status_code=202,
        responses=_ACCEPTED,  # type: ignore[arg-type]
        summary="Hand in many documents",
    )
    async def submit(
        request: Request,
        response: Response,
        caller: CallerDep,
        store: Annotated[bool, _STORE] = True,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Batch:
        batch_id = await intake.receive(request, caller.name, keep=store, key=idempotency_key)
        worker.wake()
        response.headers["Location"] = f"{BATCHES_PATH}/{batch_id}"
        return await run_in_threadpool(batch_for, batch_id, caller)

    @routes.get(one, openapi_extra=anyone_signed_in(), summary="How far a batch is")
    def batch(batch_id: UUID, caller: CallerDep) -> Batch:
        return batch_for(batch_id, caller)

    @routes.get(one + "/items", openapi_extra=anyone_signed_in(), summary="What became of its documents")
    def items(
        batch_id: UUID,
        caller: CallerDep,
        after: Annotated[int, Query(ge=0, le=10**9, description="`next` of the page before.")] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> BatchItems:
        batch_for(batch_id, caller)
        return items_of(batch_id, after=after, limit=limit)

    @routes.delete(one, openapi_extra=anyone_signed_in(), summary="Cancel a batch: nothing more of it is begun")
    async def cancel(batch_id: UUID, caller: CallerDep) -> Batch:
        cancelled = await run_in_threadpool(cancel_for, batch_id, caller)
        worker.tidy_soon()
        return cancelled

    return routes


def cancel_for(batch_id: UUID, caller: Caller) -> Batch:
    """Cancel a batch for its owner or an admin; raises NotFound like `batch_for`."""
    batch_for(batch_id, caller)
    with transaction("serve") as session:
        Batches(session).cancel(batch_id)
    return batch_for(batch_id, caller)


def batch_for(batch_id: UUID, caller: Caller) -> Batch:
    """A batch, for its owner or an admin.

    Raises:
        NotFound: there is none, or it is another user's.
    """
    with transaction("serve") as session:
        found = Batches(session).summary(batch_id)
    if found is None or not (caller.role == "admin" or found.batch.owner == caller.name):
        raise NotFound("There is no such batch.")
    return _batch(found)


def _batch(found: Summary) -> Batch:
    counts: dict[ItemState, int] = {state: found.counts.get(state, 0) for state in get_args(ItemState)}
    unanswered = counts["pending"] + counts["running"]
    return Batch(
        batch_id=found.batch.id,
        state=_state(found, unanswered),
        store=found.batch.store,
        owner=found.batch.owner,
        items=sum(counts.values()),
        counts=counts,
        created=found.batch.created,
        cancelled=found.batch.cancelled,
        finished=None if unanswered else found.finished,
    )


def _state(found: Summary, unanswered: int) -> BatchState:
    if found.batch.cancelled is not None:
        return "cancelled"
    if not unanswered:
        return "done"
    return "running" if found.attempts else "queued"


def items_of(batch_id: UUID, *, after: int, limit: int) -> BatchItems:
    """A page of documents by position, beginning after `after`."""
    with transaction("serve") as session:
        rows = Batches(session).items(batch_id, after=after, limit=limit + 1)
    items = [BatchItem.model_validate(_item(row)) for row in rows[:limit]]
    return BatchItems(items=items, next=items[-1].position if len(rows) > limit else None)


def _item(row: Any) -> dict[str, Any]:
    return {**row._mapping, "size": row.byte_size}
