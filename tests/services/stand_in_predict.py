"""`python -m tests.services.stand_in_predict`: the prediction service over an answerer that needs no CLIP."""

from __future__ import annotations

from dsdc.web.serve import run_service
from services.predict.main import create_app
from tests.fakes import StandInAnswerer

if __name__ == "__main__":
    run_service(
        "predict", lambda config: create_app(config, StandInAnswerer(config.train.model_name)), lambda c: c.predict
    )
