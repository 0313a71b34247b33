"""The synthetic store answers every query, and the plans are read."""

from __future__ import annotations

from benchmarks.lineage_million import fill, measure
from dsdc.db.questions import QUESTIONS
from dsdc.db.session import engine
from dsdc.settings import Settings


def test_a_small_store_is_filled_and_every_query_measured(database: Settings) -> None:
    with engine("owner").connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        sizes = fill(connection, documents=120, predictions=100)
        timings = {timing.query: timing for timing in measure(connection, ids=3)}
    assert (sizes["documents"], sizes["predictions"], sizes["rows of prediction_lineage"]) == (120, 100, 400)
    assert sizes["snapshot members"] == 360
    assert set(QUESTIONS) < set(timings)
    assert (timings["prediction_lineage"].rows, timings["who-labelled-the-neighbours"].rows) == (4, 5)
    assert all(timing.rows and timing.reads for timing in timings.values())
    assert "index scan pk_predictions" in timings["prediction_lineage"].reads
