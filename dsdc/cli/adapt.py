"""`dsdc clip adapt`: the CLIP in use, adapted to the archive without labels."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from dsdc.cli.console import bars, out, print_json, table

if TYPE_CHECKING:
    from dsdc.pipeline.adaptation import AdaptReport

_NAMES = {
    "image_to_text_1": "text found by its image, first",
    "image_to_text_10": "text found by its image, among 10",
    "text_to_image_1": "image found by its text, first",
    "text_to_image_10": "image found by its text, among 10",
    "reciprocal_rank": "mean reciprocal rank",
    "loss": "contrastive loss",
}


def adapt(
    epochs: Annotated[int | None, typer.Option(help="Most epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds on equal pages give equal weights.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs in a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the output layer.")] = None,
    blocks: Annotated[
        int | None, typer.Option(help="Last blocks of the image tower that learn too; on a CPU an epoch takes long.")
    ] = None,
    max_pairs: Annotated[int | None, typer.Option(help="Most pages.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep the model also where it is no better.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Adapt the model to the archive's own pages and texts, as a new model beside the old one; nothing is switched."""
    from dsdc.pipeline.adaptation import adapt_clip

    given = {
        "epochs": epochs,
        "seed": seed,
        "batch": batch,
        "learning_rate": learning_rate,
        "blocks": blocks,
        "max_pairs": max_pairs,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    with bars() as progress:
        report = adapt_clip(overrides=overrides, force=force, author=getpass.getuser(), progress=progress.step)
    if as_json:
        print_json(report.as_dict())
    else:
        _show(report)


def _show(report: AdaptReport) -> None:
    before, after = report.adapted.before.as_dict(), report.adapted.after.as_dict()
    rows = [(name, f"{before[key]:.3f}", f"{after[key]:.3f}") for key, name in _NAMES.items()]
    table(f"On {len(report.adapted.after.text_ranks)} pages held out", ("", "before", "after"), rows)
    if not report.better:
        out.print("[bold]It is no better than the model in use[/]; it was kept because of --force.", highlight=False)
    lines = (
        f"\nThe new model is {report.weights.folder}",
        "To use it, write this into config.local.yaml:\n",
        *(f"  {line}" for line in report.setting.splitlines()),
        "\nThen run `dsdc process`, which embeds the archive with it beside the embeddings that there are, and",
        "`dsdc train`. No model answers between the two, for the present one knows the old embeddings alone; to go",
        "back, take the lines out again.",
    )
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)
