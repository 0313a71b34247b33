"""`python -m tests.services.stand_in_renderer`: the stand-in, but pages are rendered as always, in child processes.

So what hostile files do to the service is seen without CLIP.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from dsdc.processors.contract import DamagedPage
from dsdc.processors.media_type import detect
from dsdc.processors.sandbox import Parsers, SandboxedRenderer
from dsdc.settings import Settings
from dsdc.web.serve import run_service
from services.predict.main import create_app
from tests.fakes import StandInAnswer, StandInAnswerer


class Renderer(StandInAnswerer):
    def __init__(self, config: Settings) -> None:
        super().__init__(config.train.model_name)
        self._renderer = SandboxedRenderer(config.render, Parsers(config.parsing, config.render, config.ocr))

    def answer(self, data: bytes, **request: Any) -> StandInAnswer:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            pages = list(self._renderer.pages(Path(file.name), detect(data[:4096])))
        damaged = [page for page in pages if isinstance(page, DamagedPage)]
        if len(damaged) == len(pages):
            raise damaged[0].error
        return super().answer(data, **request)


if __name__ == "__main__":
    run_service("predict", lambda config: create_app(config, Renderer(config)), lambda config: config.predict)
