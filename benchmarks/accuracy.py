"""What the classifier is worth on the labelled documents of this platform's store, and what each part of it brings.

Everything is measured on documents that were held out, in folds that no duplicate crosses. Beside it stand the
baselines that people would reach for first, on the same folds: a multi-layer perceptron on word counts, as in
paperless-ngx; logistic regression on TF-IDF of words and characters; and logistic regression on the CLIP vectors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

import numpy as np
import typer
from scipy.sparse import csr_array, hstack
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from dsdc.cli.console import Bars, bars, print_json, table
from dsdc.ml.dataset import collect
from dsdc.ml.evaluate import Evaluation
from dsdc.ml.features import Block, DocumentSet, Ints
from dsdc.ml.fit import cross_fit, judge
from dsdc.ml.split import Fold, make_folds
from dsdc.pipeline.assembly import assemble
from dsdc.settings import Train, settings
from dsdc.taxonomy import Taxonomy

#: Label counts a class of the learning curve.
CURVE = (1, 2, 5, 10, 25, 50, 100)
SHOWN = ("accuracy", "macro_f1", "nll", "ece", "auroc_correct", "coverage", "mean_set_size", "errors_caught_at_11")
#: What the head reads -> what of it an ablation keeps.
ABLATIONS: Mapping[str, tuple[str, ...]] = {
    "image": ("image",),
    "text vectors": ("text",),
    "image and text vectors": ("image", "text"),
    "layout": ("layout",),
    "character n-grams": ("characters",),
    "word n-grams": ("words",),
    "all text (vectors, n-grams, layout)": ("text", "layout", "characters", "words"),
    "all but layout": ("image", "text", "characters", "words"),
    "all but n-grams": ("image", "text", "layout"),
    "all but text vectors": ("image", "layout", "characters", "words"),
    "everything": ("image", "text", "layout", "characters", "words"),
}

Predictor = Callable[[DocumentSet, DocumentSet], Ints]


def run(
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    curve: Annotated[bool, typer.Option(help="Measure the learning curve too.")] = True,
    ablation: Annotated[bool, typer.Option(help="Measure what each part brings.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Accuracy, calibration, ablation and learning curve on the labelled documents of the store."""
    config = settings()
    ready = assemble(config)
    dataset = collect(
        Taxonomy.from_settings(config.taxonomy),
        ready.versions,
        ready.processors,
        min_per_class=config.train.min_per_class,
    )
    with bars() as progress:
        report = _measure(dataset.data, config.train, folds, curve=curve, ablation=ablation, progress=progress)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _measure(
    data: DocumentSet, config: Train, folds: int, *, curve: bool, ablation: bool, progress: Bars
) -> dict[str, Any]:
    parts = make_folds(data.labels, data.groups, folds=folds, seed=config.seed)
    report: dict[str, Any] = {"documents": len(data), "classes": len(data.classes), "folds": folds, "rows": {}}
    wanted = ABLATIONS if ablation else {"everything": ABLATIONS["everything"]}
    told = progress.of("cross-validation")
    for number, (name, kept) in enumerate(wanted.items()):
        report["rows"][name] = _cross_validated(_only(data, kept), parts, config)
        told(number + 1, len(wanted) - number - 1)
    report["baselines"] = {name: _baseline(data, parts, predict) for name, predict in BASELINES.items()}
    if curve:
        report["curve"] = list(_curve(data, parts[0], config, progress.of("learning curve")))
    return report


def _only(data: DocumentSet, kept: Sequence[str]) -> DocumentSet:
    """The same documents, of which nothing else is known."""
    blocks = {name: block if name in kept else _nothing(block) for name, block in data.blocks().items()}
    image, text = blocks["image"], blocks["text"]
    return replace(
        data,
        image=np.asarray(image.values),
        text=np.asarray(text.values),
        has_image=image.present,
        has_text=text.present,
        extra={name: block for name, block in blocks.items() if name in kept and name not in ("image", "text")},
    )


def _nothing(block: Block) -> Block:
    return Block(np.zeros((len(block.present), 0), dtype=np.float32), np.zeros_like(block.present))


def _cross_validated(data: DocumentSet, folds: Sequence[Fold], config: Train) -> dict[str, Any]:
    started = time.perf_counter()
    coverage, budget = settings().predict.coverage, settings().predict.review_budget
    found = judge(data, folds, cross_fit(data, folds, config), coverage=coverage, review_budget=budget)
    return _shown(found) | {"seconds": round(time.perf_counter() - started, 1)}


def _shown(found: Evaluation) -> dict[str, Any]:
    low, high = found.intervals["accuracy"]
    shares = [report.coverage for report in found.per_class.values()]
    return {
        **{name: round(found.values[name], 4) for name in SHOWN},
        "accuracy_interval": [round(low, 4), round(high, 4)],
        "coverage_of_classes": [round(min(shares), 3), round(max(shares), 3)],
    }


def _baseline(data: DocumentSet, folds: Sequence[Fold], predict: Predictor) -> dict[str, float]:
    started = time.perf_counter()
    right = [(predict(data.take(fold.train), data.take(fold.test)) == data.labels[fold.test]).sum() for fold in folds]
    return {
        "accuracy": round(float(np.sum(right)) / len(data), 4),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _counts(data: DocumentSet, names: Sequence[str]) -> csr_array:
    return csr_array(hstack([cast("csr_array", data.extra[name].values) for name in names], format="csr"))


def tf_idf(train: DocumentSet, test: DocumentSet) -> Ints:
    """Logistic regression on TF-IDF of words and characters."""
    found = 0
    for name in ("words", "characters"):
        weigh = TfidfTransformer(sublinear_tf=True).fit(_counts(train, [name]))
        model = LogisticRegression(C=20, max_iter=100)
        model.fit(weigh.transform(_counts(train, [name])), train.labels)
        found = found + model.predict_log_proba(weigh.transform(_counts(test, [name])))
    return np.asarray(found).argmax(axis=1)


def perceptron(train: DocumentSet, test: DocumentSet) -> Ints:
    """A multi-layer perceptron on scaled counts of words and pairs, as paperless-ngx classifies documents."""
    counts = _counts(train, ["words"])
    columns = np.flatnonzero(counts.count_nonzero(axis=0) >= max(2, 0.01 * len(train)))
    scale = MinMaxScaler()
    seen = scale.fit_transform(counts[:, columns].toarray())
    model = MLPClassifier(tol=0.01, random_state=0).fit(seen, train.labels)
    return np.asarray(model.predict(scale.transform(_counts(test, ["words"])[:, columns].toarray())))


def clip_vectors(train: DocumentSet, test: DocumentSet) -> Ints:
    """Logistic regression on image and text vectors."""
    scale = StandardScaler()
    seen = scale.fit_transform(np.concatenate([train.image, train.text], axis=1))
    model = LogisticRegression(C=0.003, max_iter=200).fit(seen, train.labels)
    return np.asarray(model.predict(scale.transform(np.concatenate([test.image, test.text], axis=1))))


BASELINES: Mapping[str, Predictor] = {
    "perceptron on word counts (paperless-ngx's way)": perceptron,
    "TF-IDF of words and characters, logistic regression": tf_idf,
    "CLIP vectors, logistic regression": clip_vectors,
}


@dataclass(frozen=True)
class _Point:
    """Accuracy on the test fold with so many labels a class."""

    labels_a_class: int
    accuracy: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        return {"labels_a_class": self.labels_a_class, **self.accuracy}


def _curve(
    data: DocumentSet, fold: Fold, config: Train, progress: Callable[[int, int], None]
) -> Iterator[dict[str, Any]]:
    """One draw a point, the smaller within the larger; all methods learn from the same documents."""
    order = np.random.default_rng(config.seed).permutation(fold.train)
    test = data.take(fold.test)
    for number, count in enumerate(CURVE):
        rows = np.sort(np.concatenate([order[data.labels[order] == c][:count] for c in range(len(data.classes))]))
        train = data.take(rows)
        found = {name: float((predict(train, test) == test.labels).mean()) for name, predict in BASELINES.items()}
        found["this platform"] = _platform(train, test, config)
        yield _Point(count, {name: round(value, 4) for name, value in found.items()}).as_json()
        progress(number + 1, len(CURVE) - number - 1)


def _platform(train: DocumentSet, test: DocumentSet, config: Train) -> float:
    """The head alone: what calibration would make of it needs held-out documents, of which one label has none."""
    from dsdc.ml import train as training

    scores = training.scores(training.train(train, config).head, test.blocks()).mean(axis=1)
    return float((scores.argmax(axis=1) == test.labels).mean())


def _print(report: Mapping[str, Any]) -> None:
    title = f"{report['documents']} documents, {report['classes']} classes, {report['folds']} folds"
    rows = [
        [name, *(f"{row[key]:.3f}" for key in SHOWN), f"{row['seconds']:.0f}"] for name, row in report["rows"].items()
    ]
    table(title, ["what the head reads", *SHOWN, "seconds"], rows)
    baselines = [[name, f"{row['accuracy']:.3f}", f"{row['seconds']:.0f}"] for name, row in report["baselines"].items()]
    table("Baselines, same folds", ["", "accuracy", "seconds"], baselines)
    if "curve" in report:
        names = [name for name in report["curve"][0] if name != "labels_a_class"]
        points = [[p["labels_a_class"], *(f"{p[name]:.3f}" for name in names)] for p in report["curve"]]
        table("Accuracy on the first fold by labels a class", ["labels a class", *names], points)
