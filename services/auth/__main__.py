"""`python -m services.auth`."""

from __future__ import annotations

from dsdc.web.serve import run_service
from services.auth.main import create_app

if __name__ == "__main__":
    run_service("auth", create_app, lambda config: config.auth)
