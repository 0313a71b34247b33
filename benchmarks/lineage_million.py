"""A million rows of prediction lineage: how long the views and the six questions take, and by which plans.

A database that exists for this only is filled by SQL: documents of two pages, each page with an image, a text, a
cleaned text and two vectors (of 2 numbers: nothing here reads them), labels of several authors, three snapshots with
their models, and predictions that stand on four vectors and name five neighbours. Then each query is run for several
ids, drawn by their hash, on one connection: the median and the slowest, as a client sees them, first runs included.
Plans come from EXPLAIN (ANALYZE): what reads the tables, how many rows were touched, and whether a table of more than
10,000 rows was read from end to end.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, Engine

from benchmarks.memory import empty_project
from dsdc.cli.console import bars, out, pairs, print_json, table
from dsdc.db.questions import QUESTIONS, Question, sql_of
from dsdc.db.setup import setup_database
from dsdc.errors import PurposeFailed
from dsdc.settings import Settings, settings
from services.postgres.embedded import temporary_server

#: Vectors that a prediction stands on: two pages, each by image and by text.
_VECTORS = 4
_BIG = 10_000  # rows of a table that no query should read from end to end
_CLASSES = 16
_MODELS = 3

#: The whole store, in the order in which rows refer to each other. Ids are hashes of numbers, so that every query below
#: is about a row in the middle of everything.
_FILL = {
    "processors": """
        INSERT INTO processors (id, stage, name, version, params_hash, params) VALUES
            (1, 'render', 'pages', '3', repeat('1', 64), '{}'), (2, 'text', 'page-reader', '2', repeat('2', 64), '{}'),
            (3, 'text', 'page-reader', '3', repeat('3', 64), '{"engine": "rapidocr"}'),
            (4, 'clean', 'text', '2', repeat('4', 64), '{}'),
            (5, 'embed', 'open_clip', '1', repeat('5', 64), '{"weights_sha256": "cafe"}')
    """,
    "documents": """
        INSERT INTO original_documents (id, file_path, original_name, media_type, byte_size, page_count)
        SELECT encode(sha256(n::text::bytea), 'hex'), 'raw/' || n, n || '.pdf', 'application/pdf', 1000, 2
        FROM generate_series(1, :documents) n
    """,
    "sightings": """
        INSERT INTO sightings (document_id, source, name, author)
        SELECT id, 'inbox', original_name, 'ingest' FROM original_documents
    """,
    "page images": """
        INSERT INTO processed_images
            (document_id, page, image_file, image_sha256, byte_size, width, height, mode, processor_id)
        SELECT id, page, 'processed/' || id, id, 1000, 1700, 2200, 'L', 1
        FROM original_documents, generate_series(1, 2) page
    """,
    # One document in a hundred was read by the OCR version before.
    "texts": """
        INSERT INTO raw_texts
            (document_id, page, processed_image_id, raw_text, extraction, confidence, words, notes, processor_id)
        SELECT document_id, page, id, repeat('Dear Sir or Madam, ', 40), 'ocr', 0.9, '[]', '{}',
               CASE WHEN document_id < '028f' THEN 2 ELSE 3 END
        FROM processed_images
    """,
    "cleaned texts": """
        INSERT INTO processed_texts (raw_text_id, processed_text, changes, processor_id)
        SELECT id, raw_text, '{}', 4 FROM raw_texts
    """,
    "image vectors": """
        INSERT INTO embeddings (processed_image_id, clip_version, width, embedding, processor_id)
        SELECT id, 'dsdc-lite@cafe', 2, '[1,0]', 5 FROM processed_images
    """,
    "text vectors": """
        INSERT INTO embeddings (processed_text_id, clip_version, width, embedding, processor_id)
        SELECT id, 'dsdc-lite@cafe', 2, '[0,1]', 5 FROM processed_texts
    """,
    "attempts": """
        INSERT INTO stage_attempts (stage, processor_id, input_id, document_id, state, attempts, finished)
        SELECT 'render', 1, id, id, 'done', 1, clock_timestamp() FROM original_documents
        UNION ALL
        SELECT 'text', processor_id, id::text, document_id, 'done', 1, clock_timestamp() FROM raw_texts
    """,
    # Nine labels in ten by the import, the others by twenty people.
    "labels": """
        INSERT INTO labels (document_id, taxonomy, label, source, author)
        SELECT id, 'rvl-cdip', 'class-' || mod(n, :classes), CASE WHEN mod(n, 10) = 0 THEN 'human' ELSE 'import' END,
               CASE WHEN mod(n, 10) = 0 THEN 'person ' || mod(n / 10, 20) ELSE 'ingest' END
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM original_documents) numbered
    """,
    # Each with as many documents beside its members as models from few labels are made of.
    "snapshots": """
        INSERT INTO dataset_snapshots (content_sha256, taxonomy, classes, documents, processors, params)
        SELECT encode(sha256(n::text::bytea), 'hex'), 'rvl-cdip', ARRAY['class-0'], :documents, '{}',
               jsonb_build_object('archive', archive.ids)
        FROM generate_series(1, :models) n,
             (SELECT jsonb_agg(id) AS ids FROM (SELECT id FROM original_documents ORDER BY id LIMIT 1000) of_it) archive
    """,
    "members": """
        INSERT INTO snapshot_members
            (snapshot_id, document_id, label_id, label, split, duplicate_group, embedding_ids)
        SELECT s.id, l.document_id, l.id, l.label, 'fold-' || mod(l.id, 5), l.id, '{}'
        FROM labels l, dataset_snapshots s
    """,
    "models": """
        INSERT INTO model_versions (name, version, mlflow_run_id, head_sha256, recipe_sha256, snapshot_id,
            clip_processor_id, clip_weights_sha256, classes, metrics, calibration, code_commit)
        SELECT 'dsdc-head', id, 'run', content_sha256, content_sha256, id, 5, content_sha256, classes, '{}',
               '{"conformal": {"floors": {"both": 0.1}}, "review": {"threshold": 0.5}}', 'commit'
        FROM dataset_snapshots
    """,
    # A prediction's neighbours are five documents from anywhere in the archive.
    "predictions": """
        INSERT INTO predictions (id, document_sha256, document_id, original_name, pages, model_version_id,
            embedding_ids, label, probability, probabilities, prediction_set, decision, neighbours, versions,
            timings_ms, source, author)
        SELECT CAST(md5(a.n::text) AS uuid), d.id, d.id, d.original_name, 2, 1 + mod(a.n, :models), d.vectors,
            'class-' || mod(a.n, :classes), 0.9, p.probabilities, ARRAY['class-' || mod(a.n, :classes)], 'accept',
            near.named, '{"evidence": "both", "model": "dsdc-head"}', '{}', 'api', 'eve'
        FROM generate_series(CAST(1 AS bigint), :predictions) AS a(n)
        JOIN (SELECT jsonb_object_agg('class-' || c, 1.0 / :classes) AS probabilities
              FROM generate_series(0, :classes - 1) c) p ON true
        JOIN numbered d ON d.n = 1 + mod(a.n * 7919, :documents)
        CROSS JOIN LATERAL (
            SELECT jsonb_agg(jsonb_build_object('document_id', l.id, 'label', l.label, 'label_source', l.source,
                             'author', l.author, 'similarity', 0.9)) AS named
            FROM generate_series(1, 5) k JOIN numbered l ON l.n = 1 + mod(a.n * 104729 + k * 15485863, :documents)
        ) near
    """,
}
#: Documents by number, with their vectors and labels: only for the time of filling.
_NUMBERED = """
    CREATE TEMPORARY TABLE numbered AS
    SELECT row_number() OVER (ORDER BY l.document_id) AS n, l.document_id AS id, d.original_name, l.label, l.source,
           l.author, v.vectors
    FROM labels l JOIN original_documents d ON d.id = l.document_id JOIN (
        SELECT document_id, array_agg(id ORDER BY id) AS vectors FROM (
            SELECT i.document_id, e.id FROM processed_images i JOIN embeddings e ON e.processed_image_id = i.id
            UNION ALL
            SELECT t.document_id, e.id FROM raw_texts t JOIN processed_texts c ON c.raw_text_id = t.id
            JOIN embeddings e ON e.processed_text_id = c.id
        ) every GROUP BY document_id
    ) v ON v.document_id = l.document_id
"""
_LINEAGE = "SELECT * FROM prediction_lineage WHERE prediction_id = :id ORDER BY page, embedding_of"
_LIFE = "SELECT * FROM document_lineage WHERE document_id = :document ORDER BY at, ref LIMIT 200"
_LABELS = """
    SELECT m.label, m.split, l.source, l.author, count(*) FROM snapshot_members m JOIN labels l ON l.id = m.label_id
    WHERE m.snapshot_id = (SELECT v.snapshot_id FROM predictions p JOIN model_versions v ON v.id = p.model_version_id
                           WHERE p.id = :id)
    GROUP BY 1, 2, 3, 4
"""
#: The one query that has to touch every row of something: it counts the labels of a whole snapshot.
_COUNTED = "labels of the snapshot"
#: What a plan may show; everything else does not read a table.
_READERS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Bitmap Index Scan")


@dataclass(frozen=True)
class Timing:
    """One query over several ids; milliseconds. `whole` are big tables that were read from end to end."""

    query: str
    rows: float
    p50_ms: float
    max_ms: float
    touched: int  # rows that the plan's scans gave, of the slowest id
    reads: tuple[str, ...]
    whole: tuple[str, ...]


def run(
    documents: Annotated[
        int, typer.Option(min=100, help="Documents; a prediction has four rows of lineage.")
    ] = 100_000,
    predictions: Annotated[int, typer.Option(min=100, help="Predictions.")] = 250_000,
    ids: Annotated[int, typer.Option(min=1, help="Ids that each query is run for.")] = 25,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Times and plans of the lineage views and the six questions on a million synthetic rows."""
    with _store() as engine, engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        sizes = fill(connection, documents, predictions)
        timings = measure(connection, ids)
    if as_json:
        print_json({"sizes": sizes, "timings": [asdict(timing) for timing in timings]})
    else:
        _show(sizes, timings)
    if found := sorted({name for timing in timings if timing.query != _COUNTED for name in timing.whole}):
        raise PurposeFailed(f"Read from end to end: {', '.join(found)}.", hint="The query's plan needs an index.")


def _show(sizes: Mapping[str, Any], timings: Sequence[Timing]) -> None:
    pairs("The store", sizes)
    rows = [[t.query, f"{t.rows:.0f}", f"{t.p50_ms:.1f}", f"{t.max_ms:.1f}", t.touched] for t in timings]
    table("Queries", ["query", "rows", "p50 ms", "max ms", "rows touched"], rows)
    for timing in timings:
        out.print(f"{timing.query}: {', '.join(timing.reads)}", highlight=False, soft_wrap=True)


def fill(connection: Connection, documents: int, predictions: int) -> dict[str, Any]:
    """Fill an empty store; its sizes, the seconds that it took and what the index of neighbours takes."""
    given = {"documents": documents, "predictions": predictions, "classes": _CLASSES, "models": _MODELS}
    began, steps = time.perf_counter(), list(_FILL)
    with bars() as progress:
        tell = progress.of("filling")
        for done, name in enumerate(steps, start=1):
            if name == "predictions":
                for statement in (_NUMBERED, "CREATE UNIQUE INDEX ON numbered (n)", "ANALYZE numbered"):
                    connection.execute(text(statement))
            connection.execute(text(_FILL[name]), given)
            tell(done, len(steps) - done)
    connection.execute(text("VACUUM ANALYZE"))
    seconds = time.perf_counter() - began

    def ask(query: str) -> Any:
        return connection.execute(text(query)).scalar()

    return {
        "documents": ask("SELECT count(*) FROM original_documents"),
        "predictions": ask("SELECT count(*) FROM predictions"),
        "rows of prediction_lineage": ask("SELECT sum(cardinality(embedding_ids)) FROM predictions"),
        "snapshot members": ask("SELECT count(*) FROM snapshot_members"),
        "database": ask("SELECT pg_size_pretty(pg_database_size(current_database()))"),
        "index of neighbours": ask("SELECT pg_size_pretty(pg_relation_size('ix_predictions_neighbours'))"),
        "seconds to fill": round(seconds),
    }


def measure(connection: Connection, ids: int) -> list[Timing]:
    """Every query for so many ids, drawn by their hash."""
    drawn = connection.execute(
        text("SELECT id, document_sha256 AS document FROM predictions ORDER BY md5(id::text) LIMIT :ids"),
        {"ids": 2 * ids},
    ).all()
    labels = connection.scalars(text("SELECT id FROM labels ORDER BY md5(id::text) LIMIT :ids"), {"ids": ids}).all()
    some = [
        {"id": row.id, "document": row.document, "other": other.id, "label": label}
        for row, other, label in zip(drawn[:ids], drawn[ids:], labels, strict=True)
    ]
    queries = {"prediction_lineage": _LINEAGE, "document_lineage": _LIFE, _COUNTED: _LABELS}
    queries |= {question: sql_of(question) for question in QUESTIONS}
    return [
        _timed(connection, name, query, [_parameters(name, one) for one in some]) for name, query in queries.items()
    ]


def _parameters(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    """Of one query, about one of the drawn ids."""
    question: dict[str | Question, dict[str, Any]] = {
        "document_lineage": {"document": one["document"]},
        "models-of-document": {"id": one["document"]},
        "if-label-is-wrong": {"label": one["label"]},
        "documents-of-reader": {
            **{"name": "page-reader", "version": "2" if one["label"] % 2 else "3"},
            **{"params": "", "after": one["document"] if one["label"] % 4 == 0 else "", "limit": 100},
        },
        "what-differs": {"id": one["id"], "other": one["other"]},
    }
    return question.get(name, {"id": one["id"]})


def _timed(connection: Connection, name: str, query: str, some: Sequence[Mapping[str, Any]]) -> Timing:
    taken, rows = [], []
    for parameters in some:
        began = time.perf_counter()
        rows.append(len(connection.execute(text(query), parameters).all()))
        taken.append((time.perf_counter() - began) * 1000)
    slowest = some[taken.index(max(taken))]
    plan = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"), slowest).scalar_one()[0]
    scans = [node for node in _nodes(plan["Plan"]) if node["Node Type"] in _READERS]
    return Timing(
        query=name,
        rows=statistics.mean(rows),
        p50_ms=statistics.median(taken),
        max_ms=max(taken),
        touched=round(sum(_given(node) for node in scans)),
        reads=tuple(sorted({_read(node) for node in scans if node["Actual Loops"]})),
        whole=tuple(sorted({node["Relation Name"] for node in scans if _whole(node)})),
    )


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _given(node: Mapping[str, Any]) -> float:
    """Rows that a scan gave, and those that it read and left out."""
    return float((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])


def _read(node: Mapping[str, Any]) -> str:
    by = node.get("Index Name")
    kind = node["Node Type"].lower()
    return f"{kind} {by}" if by else f"{kind} {node['Relation Name']}"


def _whole(node: Mapping[str, Any]) -> bool:
    return node["Node Type"] == "Seq Scan" and _given(node) > _BIG


@contextmanager
def _store() -> Iterator[Engine]:
    """An empty, migrated database on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="dsdc-benchmark-") as folder, temporary_server() as server:
        root = empty_project(Path(folder))
        url = server.url("dsdc")
        setup_database(_settings(root, url.render_as_string(hide_password=False)))
        engine = create_engine(url)
        try:
            yield engine
        finally:
            engine.dispose()


def _settings(root: Path, url: str) -> Settings:
    """Those of the scratch project, without making them this process's own."""
    before = dict(os.environ)
    os.environ |= {"DSDC_DIR": str(root), "DSDC_DATABASE_URL": url, "DSDC_DATABASE_LEAST_PRIVILEGE": "false"}
    settings.cache_clear()
    try:
        return settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()
