"""`python -m benchmarks.plain_app PORT`: the same model as a tutorial would serve it, for `predict_load`.

Everything happens in the handler, one document after the other: no limits, no pool, no back-pressure, no store. The
stages and the head are the platform's, so that the answers are.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, UploadFile

from dsdc.ml.dataset import blocks_of
from dsdc.ml.predict import Classifier
from dsdc.ml.registry import champion
from dsdc.pipeline.assembly import assemble
from dsdc.pipeline.chain import Chain
from dsdc.settings import settings


def build() -> FastAPI:
    """The application, its model loaded."""
    config = settings()
    ready, served = assemble(config), champion(config)
    classifier = Classifier.load(served.folder, served.head_sha256, top=config.predict.top)
    chain, app = Chain(ready, config.predict.max_pages), FastAPI()
    _ = ready.processors.embedder.width

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/predict")
    async def predict(file: UploadFile) -> dict[str, object]:
        with chain.run(await file.read()) as (passed, _):
            verdict = classifier.classify(blocks_of([passed.known()], ready.processors))
        return {"label": verdict.label, "probability": verdict.probability}

    return app


if __name__ == "__main__":
    uvicorn.run(build(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
