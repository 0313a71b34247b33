"""Statements over any table that is a queue: rows claimed with a lease by the database's clock, proved by a fence.

Such a table has `id, state, attempts, crashes, fence, worker, available, started, lease_until`. All names given to
these functions are constants of the repositories.
"""

from __future__ import annotations

from sqlalchemy import TextClause, text

#: After so many dead workers an input is claimed alone, so that it takes no others with it.
SUSPECT = 2


def claim_statement(table: str, *, scope: str, returning: str) -> TextClause:
    """Take up to `:limit` rows within `scope` that are due for `:worker`, or that somebody else let expire.

    A lease that ran out means a worker that was never heard of again: a crash, counted against what it had in its
    hands. With `:alone`, only rows with at least `:suspect` crashes; without, only the others.
    """
    return text(f"""
        UPDATE {table} AS a
        SET state = 'running', attempts = a.attempts + 1, crashes = a.crashes + (a.state = 'running')::int,
            fence = a.fence + 1, worker = :worker, started = clock_timestamp(),
            lease_until = clock_timestamp() + :lease * interval '1 second',
            available = clock_timestamp() + :lease * interval '1 second'
        FROM (
            SELECT id FROM {table}
            WHERE {scope} AND state IN ('pending', 'running') AND available <= clock_timestamp()
              AND (crashes + (state = 'running')::int >= :suspect) = :alone
            ORDER BY available, id
            LIMIT :limit
            FOR UPDATE SKIP LOCKED
        ) AS open
        WHERE a.id = open.id
        RETURNING {returning}
    """)  # noqa: S608


def renew_statement(table: str) -> TextClause:
    """Push the ends of the leases `:ids` with `:fences` out; gives the ids that are still owned."""
    return text(f"""
        UPDATE {table} AS a
        SET lease_until = clock_timestamp() + :lease * interval '1 second',
            available = clock_timestamp() + :lease * interval '1 second'
        FROM unnest(CAST(:ids AS bigint[]), CAST(:fences AS bigint[])) AS f(id, fence)
        WHERE a.id = f.id AND a.fence = f.fence AND a.state = 'running'
        RETURNING a.id
    """)  # noqa: S608


def give_back_statement(table: str, also: str = "") -> TextClause:
    """Make the claim `:id` with `:fence` pending again, due after `:wait` seconds; `also` sets further columns."""
    return text(f"""
        UPDATE {table}
        SET state = 'pending', lease_until = NULL, {also}
            available = clock_timestamp() + :wait * interval '1 second'
        WHERE id = :id AND fence = :fence AND state = 'running'
        RETURNING id
    """)  # noqa: S608
