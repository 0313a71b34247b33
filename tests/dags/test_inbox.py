"""The trigger that watches the inbox: told once for each batch, never for half a one, never deaf."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from services.airflow.inbox import Arrivals, InboxTrigger, listing

A, B = {"a.pdf": (10, 1)}, {"b.pdf": (20, 2)}


def test_a_batch_is_reported_once_it_stands_still() -> None:
    arrivals = Arrivals(patience_s=60)
    assert [arrivals.look(seen, t) for t, seen in enumerate([{}, A, A | B, A | B, A | B])] == [0, 0, 0, 2, 0]


def test_what_stays_behind_is_no_news_and_what_changes_is() -> None:
    arrivals = Arrivals(patience_s=60)
    assert [arrivals.look(A | B, t) for t in range(2)] == [0, 2]
    assert [arrivals.look(B, t) for t in range(2, 5)] == [0, 0, 0]
    changed = {"b.pdf": (21, 3)}
    assert [arrivals.look(changed, t) for t in range(5, 8)] == [0, 1, 0]
    assert arrivals.look({}, 8) == 0
    assert [arrivals.look(A, t) for t in range(9, 12)] == [0, 1, 0], "the same file may come again"


def test_a_copy_that_never_pauses_is_reported_by_the_minute() -> None:
    arrivals = Arrivals(patience_s=60)
    growing = [{f"{n}.pdf": (1, 1) for n in range(look)} for look in range(40)]
    told = [look for look, seen in enumerate(growing) if arrivals.look(seen, look * 5.0)]
    assert told == [13, 26, 39]


def test_hidden_files_and_dangling_links_are_not_arrivals(tmp_path: Path) -> None:
    (tmp_path / "letter").mkdir()
    (tmp_path / "letter" / "a.pdf").write_bytes(b"12345")
    (tmp_path / ".gitkeep").touch()
    (tmp_path / ".arriving-x").mkdir()
    (tmp_path / ".arriving-x" / "half.pdf").touch()
    found = listing(tmp_path)
    assert {name: size for name, (size, _) in found.items()} == {f"letter{os.sep}a.pdf": 5}
    assert listing(tmp_path / "nowhere") == {}


def test_the_trigger_fires_for_a_file_that_arrives_while_it_watches(tmp_path: Path) -> None:
    async def watch() -> list[object]:
        events = InboxTrigger(poll_s=0.05, folder=str(tmp_path)).run()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.2)
        assert not waiting.done(), "an empty inbox is no event"
        (tmp_path / "a.pdf").write_bytes(b"1")
        first = await asyncio.wait_for(waiting, 60)
        (tmp_path / "b.pdf").write_bytes(b"2")
        second = await asyncio.wait_for(anext(events), 60)
        return [first.payload, second.payload]

    assert asyncio.run(watch()) == [{"files": 1}, {"files": 1}]
