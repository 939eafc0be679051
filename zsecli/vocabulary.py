"""The names that the command line and the library share. Nothing here imports more than the registry.

Each registry below is the one list of its kind. To add to it, write one module and add one entry; code outside the
package calls `register`, for example:

    from zsecli.vocabulary import DATA_SOURCES
    from zsecli.registry import Entry

    DATA_SOURCES.register(Entry(name="mine", description="my pictures", target="my_package.source:SOURCE"))
"""

from __future__ import annotations

from dataclasses import dataclass

from zsecli.registry import Entry, Registry

MODALITIES = ("sketch", "photo")
PARTS = ("seen", "unseen")
COLUMNS = ("label", "instance", "family")
PRECISIONS = ("fp32", "bf16", "fp16")

DATA_SOURCES: Registry[Entry] = Registry(
    "data source",
    [
        Entry(
            name="sketchy",
            description="Sketchy with its extended photos",
            target="zsecli.data.sources.sketchy:SOURCE",
        ),
        Entry(
            name="tuberlin",
            description="TU-Berlin Extended",
            target="zsecli.data.sources.tuberlin_quickdraw:TUBERLIN",
        ),
        Entry(
            name="quickdraw",
            description="QuickDraw Extended",
            target="zsecli.data.sources.tuberlin_quickdraw:QUICKDRAW",
        ),
        Entry(name="shoe", description="QMUL ShoeV2", target="zsecli.data.sources.qmul:SHOE"),
        Entry(name="chair", description="QMUL ChairV2", target="zsecli.data.sources.qmul:CHAIR"),
        Entry(
            name="folder",
            description="a tree or manifest of your own",
            target="zsecli.data.sources.folder:SOURCE",
        ),
        Entry(name="demo", description="the shipped pictures", target="zsecli.data.sources.demo:SOURCE"),
    ],
)
"""What `zse prepare` reads: objects of the interface `zsecli.data.sources.source.DataSource`."""

SCORING_RULES: Registry[Entry] = Registry(
    "scoring rule",
    [
        Entry(name="ret", description="cosine of [Ret]", target="zsecli.retrieval.rankers.cosine:CosineRanker"),
        Entry(
            name="rn",
            description="relation score of every pair",
            target="zsecli.retrieval.rankers.relation:RelationRanker",
        ),
        Entry(
            name="cascade",
            description="a shortlist by [Ret], re-ranked by relation score",
            target="zsecli.retrieval.rankers.cascade:CascadeRanker",
        ),
    ],
)
"""How `zse match --by` scores pairs: classes of the interface `zsecli.retrieval.rankers.base.Ranker`."""

EXPLANATION_SOURCES: Registry[Entry] = Registry(
    "source of explanations",
    [
        Entry(
            name="cosine",
            description="similarity of the tokens after cross-attention",
            target="zsecli.explain.correspondences:score_similarity",
        ),
        Entry(
            name="attention",
            description="cross-attention in both directions",
            target="zsecli.explain.correspondences:score_attention",
        ),
        Entry(
            name="contribution",
            description="what a pair of tokens adds to the relation score",
            target="zsecli.explain.correspondences:score_contribution",
        ),
    ],
)
"""Which correspondences `zse explain --source` shows first: functions of a `zsecli.explain.pair.Pair` that return
(P, C) float32, a score for each patch of the sketch with each patch of the photo."""


@dataclass(frozen=True, kw_only=True)
class EmbedderEntry(Entry):
    """A kind of model. Its target is a function (spec, device, precision) that returns an
    `zsecli.model.embedders.base.Embedder`."""

    form: str
    """What the user types: `NAME`, or `KIND:NAME`."""
    is_network: bool = False
    """Whether there is something to compute on a GPU, in a precision."""
    library: str = ""
    """The distribution that decides features too: its version is part of their run key."""


EMBEDDERS: Registry[EmbedderEntry] = Registry(
    "kind of model",
    [
        EmbedderEntry(
            name="checkpoint",
            form="FILE",
            description="a checkpoint (.safetensors, or the authors' .pth)",
            target="zsecli.model.load:load_checkpoint",
            is_network=True,
        ),
        EmbedderEntry(
            name="frozen",
            form="frozen:NAME[=WEIGHTS]",
            description="a timm backbone",
            target="zsecli.model.load:load_frozen",
            is_network=True,
            library="timm",
        ),
        EmbedderEntry(
            name="pixels",
            form="pixels",
            description="grey values of a thumbnail",
            target="zsecli.model.load:load_pixels",
        ),
        EmbedderEntry(
            name="hog",
            form="hog",
            description="histograms of oriented gradients",
            target="zsecli.model.load:load_hog",
            library="scikit-image",
        ),
    ],
)
"""What `--model` takes."""

REPORT_FORMATS: Registry[Entry] = Registry(
    "report format",
    [
        Entry(
            name="json",
            description="every query and class",
            target="zsecli.render.report:json_report",
        ),
        Entry(name="csv", description="the means, one row per metric", target="zsecli.render.report:csv_report"),
        Entry(name="md", description="tables as Markdown", target="zsecli.render.report:format_markdown"),
    ],
)
"""What `zse evaluate -o` writes, by the suffix of the file: functions of an
`zsecli.evaluate.report_model.Evaluation` and of whether classes are wanted, which return text."""


@dataclass(frozen=True, kw_only=True)
class MetricEntry(Entry):
    """A metric. Its target is a function of `zsecli.evaluate.metrics.RelevantRanks`, and of k where the name has @K,
    that returns (Q,) float64."""

    mean: str = "{}"
    """The name of its mean over queries, around its own."""
    reported_by_class: tuple[str, ...] = ()
    """Full names, as `P@100`, that an extension adds to reports in which photos of the same class are relevant."""
    reported_by_object: tuple[str, ...] = ()
    """The same for reports in which photos of the same object are."""


_METRICS = "zsecli.evaluate.metrics:"
METRICS: Registry[MetricEntry] = Registry(
    "metric",
    [
        MetricEntry(
            name="AP (raw)", description="average precision", target=f"{_METRICS}average_precision", mean="m{}"
        ),
        MetricEntry(
            name="AP (voc)",
            description="average of interpolated precision",
            target=f"{_METRICS}average_precision_voc",
            mean="m{}",
        ),
        MetricEntry(
            name="AP@K (voc, strict)",
            description="the same of the first K, over min(K, R)",
            target=f"{_METRICS}average_precision_at_voc",
            mean="m{}",
        ),
        MetricEntry(
            name="AP@K (strict)",
            description="average precision of the first K, over min(K, R)",
            target=f"{_METRICS}average_precision_at",
            mean="m{}",
        ),
        MetricEntry(
            name="AP@K (lenient)",
            description="average precision of the first K, over their hits",
            target=f"{_METRICS}average_precision_at_lenient",
            mean="m{}",
        ),
        MetricEntry(
            name="AP@K (trec)",
            description="average precision of the first K, over R",
            target=f"{_METRICS}average_precision_at_trec",
            mean="m{}",
        ),
        MetricEntry(name="P@K", description="hits in the first K, over K", target=f"{_METRICS}precision_at"),
        MetricEntry(
            name="P@K (capped)",
            description="precision of the first min(K, R)",
            target=f"{_METRICS}precision_at_capped",
        ),
        MetricEntry(
            name="Acc@K",
            description="whether a relevant photo is in the first K",
            target=f"{_METRICS}accuracy_at",
        ),
        MetricEntry(
            name="reciprocal rank",
            description="1 / rank of the first relevant photo",
            target=f"{_METRICS}reciprocal_rank",
            mean="mean {}",
        ),
    ],
)
"""What `zse evaluate` measures; `zsecli.evaluate.protocols` lists which of them a report has, and in which order."""
