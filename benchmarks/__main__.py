"""`python -m benchmarks NAME [--json]`; alone it lists what there is. A new benchmark is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from benchmarks import (
    accuracy,
    batch_restart,
    label_noise,
    lineage_million,
    memory,
    ocr_accuracy,
    predict_cascade,
    predict_latency,
    predict_load,
    predict_swap,
)
from dsdc import log
from dsdc.cli import console
from dsdc.settings import settings

app = typer.Typer(
    name="python -m benchmarks",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: Name -> function; its docstring's first line is what the list says of it.
BENCHMARKS: Mapping[str, Callable[..., None]] = {
    "accuracy": accuracy.run,
    "batch_restart": batch_restart.run,
    "label_noise": label_noise.run,
    "lineage_million": lineage_million.run,
    "memory": memory.run,
    "ocr_accuracy": ocr_accuracy.run,
    "predict_cascade": predict_cascade.run,
    "predict_latency": predict_latency.run,
    "predict_load": predict_load.run,
    "predict_swap": predict_swap.run,
}
for name, run in BENCHMARKS.items():
    app.command(name)(run)


@app.callback()
def options() -> None:
    """Measurements, never tests: no time and no rate makes one fail."""
    log.configure("warning", settings().logging.format)


def main() -> None:
    console.run(app)


if __name__ == "__main__":
    main()
