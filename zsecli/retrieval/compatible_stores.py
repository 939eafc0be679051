"""Whether two feature stores can be ranked against each other, and the network that scores their pairs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zsecli.data.provenance import Header
from zsecli.errors import StoreError, UsageError
from zsecli.model.config import Precision
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.match_options import MatchOptions
from zsecli.store.features import Features
from zsecli.store.remake_commands import remake_features

if TYPE_CHECKING:
    from zsecli.retrieval.relation_scores import RelationScorer

logger = logging.getLogger(__name__)

MIN_TO_CENTRE = 10  # a mean over fewer pictures says more about them than about their modality


def select_modality(features: Features, modality: int, name: str) -> Features:
    """The pictures of one modality; StoreError where there is none."""
    selected = features.take(features.items.modality == modality)
    if not len(selected.items):
        raise StoreError(f"{features.path}: holds no {name}", f"zse embed --modality {name} says what the pictures are")
    return selected


def warn_of_other_modality(features: Features, selected: Features, plural: str) -> None:
    """Warn of single pictures of the other modality in a store that was given for one: perhaps they were mistaken."""
    n_others = len(features.items) - len(selected.items)
    if n_others and features.header.provenance.get("source") == "pictures":
        logger.warning(
            f"{features.path}: {n_others} of its {len(features.items)} pictures are no {plural} and take no part"
        )


def check_stores(queries: Features, gallery: Features, options: MatchOptions, model: ModelSpec | None) -> None:
    """Check that the two stores were made by one model, and hold what the scoring rule needs.

    Args:
        model: the network that is to score pairs; None: the one that the stores name.

    Raises:
        StoreError: different models, or no relation network. UsageError: too few pictures to centre.
    """
    _check_same_model(queries, gallery)
    made_by = gallery.header.provenance
    if model is not None:
        identity = model.weights_hash() or model.text
        if identity != (made_by.get("weights") or made_by.get("model")):
            raise StoreError(
                f"{model.text}: is not the model that made {gallery.path}",
                "leave --model out: the stores name theirs; or embed again with this one",
            )
    if options.ranker.uses_relation:
        has_relation = queries.header.provenance.get("relation")
        if not (queries.has_tokens and gallery.has_tokens and has_relation):
            raise no_relation_network(str(queries.header.provenance.get("model")))
    if options.center and min(len(queries.items), len(gallery.items)) < MIN_TO_CENTRE:
        raise UsageError(
            f"--center needs the means of at least {MIN_TO_CENTRE} sketches and {MIN_TO_CENTRE} photos",
            "leave it out for a single picture",
        )


def _check_same_model(queries: Features, gallery: Features) -> None:
    """StoreError unless both stores were made by one model in one state."""
    query_model = queries.header.provenance.get("model")
    photo_model = gallery.header.provenance.get("model")
    has_same_widths = queries.width == gallery.width and queries.token_width == gallery.token_width
    has_same_weights = all(
        queries.header.provenance.get(name) == gallery.header.provenance.get(name) for name in ("weights", "preprocess")
    )
    has_weights = bool(queries.header.provenance.get("weights"))
    if has_same_widths and has_same_weights and (has_weights or query_model == photo_model):
        return
    problem = f"{queries.path} and {gallery.path} were made by different models"
    if query_model == photo_model:
        hint = remake_features(queries.path, gallery.path)
        raise StoreError(f"{problem}: {query_model} changed in between", hint)
    raise StoreError(problem, f"embed both with the same --model (now {query_model} and {photo_model})")


def no_relation_network(model: str) -> StoreError:
    """The error of a model that cannot score pairs."""
    return StoreError(f"{model} has no relation network", "rank with --by ret")


def load_scorer(
    queries: Features, gallery: Features, model: ModelSpec | None, device: str, precision: Precision
) -> RelationScorer:
    """The relation network that made the features, ready to score their pairs.

    Raises:
        StoreError: it has no relation network, or its weights changed since.
    """
    from zsecli.model.checkpoint import load_scoring
    from zsecli.model.embedders.base import compute_in_full_float32, dtype_of, resolve_device
    from zsecli.retrieval.relation_scores import RelationScorer

    made_by = gallery.header.provenance
    spec = model or ModelSpec.from_store(made_by.get("model"), gallery.path)
    if not spec.has_relation:  # whatever the store says
        raise no_relation_network(spec.text)
    if spec.weights_hash() != made_by.get("weights"):
        hint = remake_features(queries.path, gallery.path)
        raise StoreError(f"{spec.text}: is no longer the model that made {gallery.path}", hint)
    resolved = resolve_device(device)
    compute_in_full_float32()
    assert spec.file is not None
    network = load_scoring(spec.file).to(resolved)
    network.cast(dtype_of(precision, resolved))
    return RelationScorer(network, resolved, queries, gallery)


def picture_folders(*stores: Header) -> dict[str, list[str]]:
    """The folders of the sketches and of the photos, and the data sets that list them, as the feature stores say."""
    return {
        "roots": [store.provenance.get("root", "") for store in stores],
        "datasets": [store.provenance.get("dataset", "") for store in stores],
    }
