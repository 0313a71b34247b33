"""`dsdc clip`: the CLIP model in use, and its weights."""

from __future__ import annotations

import typer

from dsdc.cli.adapt import adapt
from dsdc.settings import settings

app = typer.Typer(name="clip", help="The CLIP model that embeds pages and texts.", no_args_is_help=True)
app.command()(adapt)


@app.command()
def fetch() -> None:
    """Get or build the configured weights, verify them, and print where they are and their SHA-256."""
    from dsdc.processors.embed.weights import WeightsStore

    weights = WeightsStore(settings().clip, settings().path("models")).fetch()
    typer.echo(f"{weights.file}\n{weights.sha256}")


@app.command()
def show() -> None:
    """Load the model and print what it is: name, weights, width, image size, context length, device."""
    from dsdc.processors.embed.embedder import OpenClipEmbedder

    clip = settings().clip
    embedder = OpenClipEmbedder(clip, settings().path("models"))
    encoder = embedder.load()
    facts = {
        "model": clip.model,
        "pretrained": clip.pretrained or "-",
        "sha256": encoder.sha256,
        "width": encoder.width,
        "image": f"{encoder.fit.height} x {encoder.fit.width} px, whole page, padded with white",
        "context": f"{encoder.context} tokens, up to {clip.max_text_windows} windows a page",
        "device": str(encoder.device),
        "processor": f"{embedder.name} {embedder.version}, parameters {embedder.params_hash}",
    }
    for name, value in facts.items():
        typer.echo(f"{name:<11}{value}")
