"""What the classifier is worth on the labelled documents of this platform's store, and what each part of it brings.

Everything is measured on documents that were held out, in folds that no duplicate crosses. Beside it stand the
baselines that people would reach for first, on the same folds: a multi-layer perceptron on word counts, as in
paperless-ngx; logistic regression on TF-IDF of words and characters; and logistic regression on the CLIP vectors.

Everything is shared out over the cores, a training each: 1,600 documents take minutes a part on two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, cast

import numpy as np
import typer
from joblib import Parallel, cpu_count, delayed
from scipy.sparse import csr_array, hstack
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from dsdc.cli.console import bars, print_json, table
from dsdc.ml import calibrate
from dsdc.ml.calibrate import Evidence
from dsdc.ml.coldstart import ARCHIVE, fit_cold, prompts_of
from dsdc.ml.dataset import collect
from dsdc.ml.evaluate import Evaluation
from dsdc.ml.features import Block, DocumentSet, Floats, Ints
from dsdc.ml.fit import cross_fit, fit, gather, judge
from dsdc.ml.method import choose_method
from dsdc.ml.neighbours import References
from dsdc.ml.split import Fold, make_folds
from dsdc.ml.train import scores
from dsdc.pipeline.assembly import assemble
from dsdc.settings import Settings, Train, settings
from dsdc.taxonomy import Taxonomy

#: Label counts a class of the learning curve, as far as the store has them.
CURVE = (1, 2, 5, 10, 25, 50, 100)
SHOWN = ("accuracy", "macro_f1", "nll", "ece", "auroc_correct", "coverage", "mean_set_size", "errors_caught_at_11")
#: From and to: the 95 % interval of the accuracy, and the coverage of the worst and the best covered class.
RANGES = ("accuracy_interval", "coverage_of_classes")
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
Part = Literal["cross-validation", "ablation", "curve"]


def run(
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    only: Annotated[Part | None, typer.Option(help="Measure this alone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Accuracy, calibration, ablation and learning curve on the labelled documents of the store."""
    config = settings()
    ready, taxonomy = assemble(config), Taxonomy.from_settings(config.taxonomy)
    data = collect(taxonomy, ready.versions, ready.processors, min_per_class=config.train.min_per_class).data
    parts = make_folds(data.labels, data.groups, folds=folds, seed=config.train.seed)
    report: dict[str, Any] = {"documents": len(data), "classes": len(data.classes), "folds": folds}
    with bars() as progress:
        if only in (None, "cross-validation"):
            report |= _cross_validation(data, parts, config.train, progress.of("cross-validation"))
        if only in (None, "ablation"):
            report["ablation"] = _ablation(data, parts, config.train, progress.of("ablation"))
        if only in (None, "curve"):
            prompts = prompts_of(
                [c for c in taxonomy.classes if c.slug in data.classes],
                ready.processors,
                aligned=ready.processors.embedder.aligned,
            )
            report["curve"] = _curve(data, parts[0], prompts, config, progress.of("learning curve"))
    if as_json:
        print_json(report)
    else:
        _print(report)


def _shared_out(work: Sequence[Any], told: Callable[[int, int], None]) -> list[Any]:
    """Results of `delayed` calls, in their order, a process a core; none of them uses more than one."""
    found = []
    for result in Parallel(n_jobs=min(len(work), cpu_count()), return_as="generator")(work):
        found.append(result)
        told(len(found), len(work) - len(found))
    return found


def _cross_validation(
    data: DocumentSet, folds: Sequence[Fold], config: Train, told: Callable[[int, int], None]
) -> dict[str, Any]:
    """What the platform trains, and the baselines."""
    work = [delayed(_held_out)(data, [fold], config) for fold in folds]
    work += [delayed(_right)(data, fold, name) for fold in folds for name in BASELINES]
    found = _shared_out(work, told)
    heads, others = found[: len(folds)], found[len(folds) :]
    held_out = gather([answers for answers, _ in heads], folds)
    row = _judged(data, folds, held_out) | {"seconds": round(sum(seconds for _, seconds in heads), 1)}
    baselines = {
        name: {
            "accuracy": round(sum(right for right, _ in others[at :: len(BASELINES)]) / len(data), 4),
            "seconds": round(sum(seconds for _, seconds in others[at :: len(BASELINES)]), 1),
        }
        for at, name in enumerate(BASELINES)
    }
    return {"cross_validation": {"everything": row}, "baselines": baselines}


def _ablation(
    data: DocumentSet, folds: Sequence[Fold], config: Train, told: Callable[[int, int], None]
) -> dict[str, Any]:
    """One network instead of several: what a part brings shows without, in a third of the time."""
    one = config.model_copy(update={"members": 1})
    work = [delayed(_row)(_only(data, kept), folds, one) for kept in ABLATIONS.values()]
    return dict(zip(ABLATIONS, _shared_out(work, told), strict=True))


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


def _held_out(data: DocumentSet, folds: Sequence[Fold], config: Train) -> tuple[dict[Evidence, Floats], float]:
    """Scores of what the folds hold out, and seconds."""
    started = time.perf_counter()
    return cross_fit(data, folds, config), time.perf_counter() - started


def _row(data: DocumentSet, folds: Sequence[Fold], config: Train) -> dict[str, Any]:
    held_out, seconds = _held_out(data, folds, config)
    return _judged(data, folds, held_out) | {"seconds": round(seconds, 1)}


def _judged(data: DocumentSet, folds: Sequence[Fold], held_out: Mapping[Evidence, Floats]) -> dict[str, Any]:
    coverage, budget = settings().predict.coverage, settings().predict.review_budget
    return _shown(judge(data, folds, held_out, coverage=coverage, review_budget=budget))


def _shown(found: Evaluation) -> dict[str, Any]:
    low, high = found.intervals["accuracy"]
    shares = [report.coverage for report in found.per_class.values()]
    return {
        **{name: round(found.values[name], 4) for name in SHOWN},
        "accuracy_interval": [round(low, 4), round(high, 4)],
        "coverage_of_classes": [round(min(shares), 3), round(max(shares), 3)],
    }


def _right(data: DocumentSet, fold: Fold, baseline: str) -> tuple[int, float]:
    """How many of a fold a baseline gets right, and seconds."""
    started = time.perf_counter()
    found = BASELINES[baseline](data.take(fold.train), data.take(fold.test))
    return int((found == data.labels[fold.test]).sum()), time.perf_counter() - started


def _counts(data: DocumentSet, names: Sequence[str]) -> csr_array:
    return csr_array(hstack([cast("csr_array", data.extra[name].values) for name in names], format="csr"))


def tf_idf(train: DocumentSet, test: DocumentSet) -> Ints:
    """Logistic regression on TF-IDF of words and characters."""
    found = 0
    for name in ("words", "characters"):
        counts = _counts(train, [name])
        # As `min_df=2`; with a handful of documents nearly nothing would be left.
        columns = np.flatnonzero(counts.count_nonzero(axis=0) >= min(2, len(train) // 50 + 1))
        weigh = TfidfTransformer(sublinear_tf=True).fit(counts[:, columns])
        model = LogisticRegression(C=20, max_iter=100)
        model.fit(weigh.transform(counts[:, columns]), train.labels)
        found = found + model.predict_log_proba(weigh.transform(_counts(test, [name])[:, columns]))
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


def _curve(
    data: DocumentSet, fold: Fold, prompts: References, config: Settings, told: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """One draw a point, the smaller within the larger; all methods learn from the same documents."""
    order = np.random.default_rng(config.train.seed).permutation(fold.train)
    most = int(np.bincount(data.labels[fold.train]).max())
    counts = sorted({min(count, most) for count in CURVE})
    chosen = [
        np.sort(np.concatenate([order[data.labels[order] == c][:count] for c in range(len(data.classes))]))
        for count in counts
    ]
    work = [delayed(_point)(data, rows, fold, prompts, config) for rows in chosen]
    found = _shared_out(work, told)
    return [{"labels_a_class": count, **point} for count, point in zip(counts, found, strict=True)]


def _point(data: DocumentSet, rows: Ints, fold: Fold, prompts: References, config: Settings) -> dict[str, Any]:
    """Which method would serve with these labels; its accuracy on the test fold, and that of the baselines."""
    train, test = data.take(rows), data.take(fold.test)
    section = config.train
    method = choose_method(train.originals(), min_per_class=section.min_per_class, folds=section.folds).method
    promised: dict[str, Any] = {
        "coverage": config.predict.coverage,
        "review_budget": config.predict.review_budget,
        "resamples": 0,
    }
    if method == "head":
        fitted = fit(train, section, **promised)
    else:
        # The documents whose labels are not known here are in the archive all the same; the test fold is not.
        archive = {name: block[fold.train[:ARCHIVE]] for name, block in data.blocks().items()}
        fitted = fit_cold(train, section, method=method, prompts=prompts, archive=archive, **promised)
    blocks = test.blocks()
    found = scores(fitted.run.head, blocks)
    answered = calibrate.probabilities(found, fitted.thresholds.weights, calibrate.evidence(blocks)).argmax(axis=1)
    accuracy = {"this platform": answered} | {name: predict(train, test) for name, predict in BASELINES.items()}
    return {
        "method": method,
        **{name: round(float((said == test.labels).mean()), 4) for name, said in accuracy.items()},
    }


def _between(ends: Sequence[float]) -> str:
    return f"{ends[0]:.3f}-{ends[1]:.3f}"


def _print(report: Mapping[str, Any]) -> None:
    title = f"{report['documents']} documents, {report['classes']} classes, {report['folds']} folds"
    for part, told in (("cross_validation", "as it is trained"), ("ablation", "one network")):
        rows = [
            [
                name,
                *(f"{row[key]:.3f}" for key in SHOWN),
                *(_between(row[key]) for key in RANGES),
                f"{row['seconds']:.0f}",
            ]
            for name, row in report.get(part, {}).items()
        ]
        if rows:
            table(f"{title}, {told}", ["what the head reads", *SHOWN, *RANGES, "seconds"], rows)
    if "baselines" in report:
        found = report["baselines"].items()
        baselines = [[name, f"{row['accuracy']:.3f}", f"{row['seconds']:.0f}"] for name, row in found]
        table("Baselines, same folds", ["", "accuracy", "seconds"], baselines)
    if "curve" in report:
        names = ["this platform", *BASELINES]
        points = [[p["labels_a_class"], p["method"], *(f"{p[name]:.3f}" for name in names)] for p in report["curve"]]
        table("Accuracy on the first fold by labels a class", ["labels a class", "what serves", *names], points)
