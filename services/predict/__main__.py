"""`python -m services.predict`."""

from __future__ import annotations

from dsdc.web.serve import run_service
from services.predict.main import create_app

if __name__ == "__main__":
    run_service("predict", create_app, lambda config: config.predict)
