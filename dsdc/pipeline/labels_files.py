"""What labels files say reaches the files that they mean.

A labels file may come before its files, with them or after them, and names are used again: each batch of a scanner
begins with 0001.png. So a statement is about one arrival, the first of these: a file that lies in the inbox while the
labels file does; the newest one that came under that name, unless a labels file has labelled that already. A labels
file leaves the inbox when each of its statements has found its file, and waits there until then.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from dsdc.db.repositories.statements import Arrived, Statements
from dsdc.db.session import retrying, transaction
from dsdc.log import get_logger
from dsdc.pipeline.inbox import Found, Skip, Watch, manifests, printable
from dsdc.pipeline.intake import Intake
from dsdc.pipeline.manifests import LabelsFile, Place, Statement, read_labels_file, retire

log = get_logger(__name__)

_NAMED = 5  # names that a notice gives


class LabelsFiles:
    """The labels files below `root`, as one run finds them; in the inbox each statement is applied once."""

    def __init__(self, root: Path, watch: Watch, skip: Skip, *, inbox: bool, only: bool) -> None:
        self._root = root
        self._watch = watch
        self._skip = skip
        self._inbox = inbox
        self._only = only
        self._files: list[LabelsFile] = []
        self._about: dict[Place, list[Statement]] = {}

    def look(self, stated: Iterable[Statement] = ()) -> int:
        """Read them again, and `stated` after them; returns how many are not quiet yet, and may say more."""
        found = manifests(self._root, self._skip, only=self._only)
        read = [self._read(one) for one in found]
        self._files = [file for file in read if isinstance(file, LabelsFile)]
        self._about = {}
        for statement in [*self._open(), *stated]:
            self._about.setdefault(statement.place, []).append(statement)
        return sum(file is None for file in read)

    def _read(self, found: Found) -> LabelsFile | Exception | None:
        if not self._watch.quiet(found):
            return None
        try:
            return read_labels_file(found, self._root)
        except (OSError, ValueError, csv.Error) as error:
            self._skip(found.path, f"is no labels file (columns file,label): {error}")
            return error

    def _open(self) -> list[Statement]:
        """What has found no file yet."""
        every = [statement for file in self._files for statement in file.statements]
        applied = self._applied(every) if self._inbox else set()
        return [s for s in every if s.key not in applied]

    def about(self, found: Found) -> list[Statement]:
        """What is said of this file; the last statement counts, and all have found their file with it."""
        return self._about.get((found.folder, found.name), [])

    def keys(self, found: Found) -> tuple[str, ...]:
        """The keys of what is said of a file of the inbox."""
        return tuple(s.key for s in self.about(found)) if self._inbox else ()

    def refused(self, found: Found) -> None:
        """What is said of a file that went to quarantine has found it; the label lies there beside it."""
        keys = self.keys(found)

        def work() -> None:
            with transaction() as session:
                Statements(session).apply(keys, None)

        if keys:
            retrying(work)

    def label_earlier(self, intake: Intake, known: Callable[[str], str | None]) -> int:
        """Apply what is said of files that came before and are no longer here; returns the number of labels stated.

        Args:
            known: the class that a label means, None for one that means none.
        """
        gone = {place: said for place, said in self._about.items() if not os.path.lexists(said[-1].path)}
        if not gone:
            return 0
        tries: list[int] = []

        def work() -> None:
            with transaction() as session:
                newest = Statements(session).newest(gone)
                tries.append(
                    sum(
                        _label(session, intake, said, newest[place], known(said[-1].label))
                        for place, said in gone.items()
                        if place in newest and not newest[place].labelled
                    )
                )

        retrying(work)
        return max(tries)

    def retire(self, kept: Path) -> dict[Path, list[str]]:
        """Put away the labels files of which every statement has found its file; names that the others wait for."""
        applied = self._applied([statement for file in self._files for statement in file.statements])
        waiting: dict[Path, list[str]] = {}
        for file in self._files:
            # A name may stand in several lines; one file is what it waits for.
            names = {s.place: printable(s.path.name) for s in file.statements if s.key not in applied}
            if names:
                waiting[file.found.path] = list(names.values())
                continue
            try:
                retire(file, kept)
            except OSError:
                continue  # gone, or another: the next run looks at it
        return waiting

    @staticmethod
    def _applied(statements: Sequence[Statement]) -> set[str]:
        def work() -> set[str]:
            with transaction() as session:
                return Statements(session).applied([s.key for s in statements])

        return retrying(work) if statements else set()


def _label(session: Session, intake: Intake, said: Sequence[Statement], arrived: Arrived, slug: str | None) -> bool:
    """Apply statements about one arrival; with a label that is no class, it stays free for a corrected labels file."""
    fresh = Statements(session).apply([s.key for s in said], arrived.sighting_id if slug else None)
    if not slug or said[-1].key not in fresh:
        return False
    intake.state_label(session, arrived.document_id, slug)
    return True


def notice(path: Path, names: Sequence[str]) -> str:
    """What a person is told of a labels file that waits for files of these names."""
    some = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    files = "1 named file has" if len(names) == 1 else f"{len(names)} named files have"
    return (
        f"{printable(str(path))}: {files} not come ({some}); it stays until then. Files that a labels file has labelled"
        " before keep their labels; to correct one, drop the file in again beside its labels file."
    )
