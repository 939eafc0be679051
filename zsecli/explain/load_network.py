"""The network that explanations ask: only one with a relation network can say why two pictures match."""

from __future__ import annotations

from zsecli.errors import StoreError
from zsecli.model.embedders.base import NetworkEmbedder
from zsecli.model.load import load
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.compatible_stores import no_relation_network
from zsecli.store.ranking import Ranking
from zsecli.store.remake_commands import remake_ranking


def load_network(spec: ModelSpec, device: str) -> NetworkEmbedder:
    """The model that `spec` names; StoreError where it has no relation network."""
    if not spec.has_relation:
        raise no_relation_network(spec.text)
    model = load(spec, device)
    assert isinstance(model, NetworkEmbedder)
    return model


def network_of_ranking(ranking: Ranking) -> ModelSpec:
    """The network that made a ranking; StoreError where its weights changed since, or it has no relation network."""
    provenance = ranking.header.provenance
    spec = ModelSpec.from_store(provenance.get("model"), ranking.path)
    if not spec.has_relation:
        raise no_relation_network(spec.text)
    if provenance.get("weights", spec.weights_hash()) != spec.weights_hash():
        raise StoreError(f"{spec.text}: is no longer the model that made {ranking.path}", remake_ranking(ranking))
    return spec
