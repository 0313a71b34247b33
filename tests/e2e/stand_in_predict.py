"""`python -m tests.e2e.stand_in_predict`: the prediction service, whose answers follow from the file's name.

`invoice-72.pdf` is an invoice with probability 0.72; it keeps documents and finds neighbours, so that everything the
page shows is there. No CLIP, no OCR.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from dsdc.db.repositories.documents import Documents, NewDocument
from dsdc.db.repositories.predictions import NewPrediction, Predictions
from dsdc.db.session import transaction
from dsdc.errors import CorruptFile
from dsdc.processors.media_type import detect
from dsdc.web.serve import run_service
from services.predict.main import create_app
from tests.fakes import StandInAnswer, StandInAnswerer


class NamedAnswerer(StandInAnswerer):
    def answer(
        self,
        data: bytes,
        *,
        name: str,
        author: str,
        source: str = "api",
        store: bool = True,
        cascade: str | None = None,
        prediction_id: UUID | None = None,
    ) -> StandInAnswer:
        if name.startswith("broken"):
            raise CorruptFile("No page of the file can be read.", hint="Open it and save it again.")
        row = replace(self._named(data, name, author, source, store), id=prediction_id or uuid4())
        with transaction("serve") as session:
            if store:
                new = NewDocument(row.document_sha256, f"raw/{name}", name, detect(data[:4096]), len(data))
                Documents(session).add([new])
            created = Predictions(session).add(row)
        return StandInAnswer(_body(row) | {"created": created})

    def _named(self, data: bytes, name: str, author: str, source: str, store: bool) -> NewPrediction:
        assert self.model is not None
        found = re.match(r"([a-z]+)-(\d\d)", name)
        label, sure = (found[1], int(found[2]) / 100) if found else ("letter", 0.6)
        others = [c for c in self.model.classes if c != label]
        shares = {label: sure, others[0]: (1 - sure) * 0.6, others[1]: (1 - sure) * 0.4}
        sha256 = hashlib.sha256(data).hexdigest()
        near = [("invoice", 0.934, "import"), ("invoice", 0.917, "human"), ("form", 0.861, "import")]
        return NewPrediction(
            id=uuid4(),
            document_sha256=sha256,
            document_id=sha256 if store else None,
            original_name=name,
            pages=2,
            model_version_id=self._model_id,
            embedding_ids=[],
            label=label,
            probability=sure,
            probabilities=shares,
            prediction_set=[label] if sure > 0.8 else [label, others[0]],
            decision="accept" if sure >= 0.5 else "review",
            neighbours=[
                {
                    "document_id": hashlib.sha256(str(i).encode()).hexdigest(),
                    "label": kind,
                    "label_source": by,
                    "similarity": similarity,
                }
                for i, (kind, similarity, by) in enumerate(near)
            ],
            versions={"model": {"name": self.model.name, "version": 1}, "clip": "stand-in"},
            timings_ms={"render": 181.0, "text": 912.4, "clean": 1.2, "embed": 240.9, "head": 0.8, "total": 1336.3},
            source=source,
            author=author,
        )


def _body(row: NewPrediction) -> dict[str, Any]:
    names = ("label", "probability", "prediction_set", "decision", "neighbours", "original_name", "pages")
    top = sorted(row.probabilities.items(), key=lambda item: -item[1])
    return {name: getattr(row, name) for name in names} | {
        "prediction_id": str(row.id),
        "document_id": row.document_sha256,
        "top": [{"label": label, "probability": share} for label, share in top],
        "versions": dict(row.versions),
        "timings_ms": dict(row.timings_ms),
    }


if __name__ == "__main__":
    run_service("predict", lambda c: create_app(c, NamedAnswerer(c.train.model_name)), lambda c: c.predict)
