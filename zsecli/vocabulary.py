"""The names that the command line and the library share. Nothing here imports more than the registry.

Each registry below is the one list of its kind. To add to it, write one module and add one entry; code outside the
package calls `register`, for example:

    from zsecli.vocabulary import DATA_SOURCES
    from zsecli.registry import Entry

    DATA_SOURCES.register(Entry(name="mine", description="my pictures", target="my_package.source:SOURCE"))
"""

from __future__ import annotations

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
        Entry(name="cosine", description="similarity of the tokens after cross-attention", target=""),
        Entry(name="attention", description="the cross-attention", target=""),
        Entry(name="contribution", description="what a pair of tokens adds to the relation score", target=""),
    ],
)
"""Which correspondences `zse explain --source` shows first."""
