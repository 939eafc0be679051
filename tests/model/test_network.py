"""Every part of the network, and the whole of it, on small configurations."""

from __future__ import annotations

import dataclasses
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from helpers.checkpoints import Evil, rewrite
from helpers.tiny import SELECTING, TINY, build
from zsecli.errors import StoreError, UsageError
from zsecli.model import checkpoint, config, selection
from zsecli.model.backbone import Backbone
from zsecli.model.config import (
    BackboneConfig,
    CrossAttentionConfig,
    RelationConfig,
    SelectionConfig,
    TokenizerConfig,
)
from zsecli.model.cross_attention import CrossAttention, attend
from zsecli.model.load import load
from zsecli.model.network import ZSENetwork
from zsecli.model.relation import RelationNetwork
from zsecli.model.spec import ModelSpec
from zsecli.model.tokenizer import ConvTokenizer
from zsecli.model.trunk_embed import TrunkEmbed


def pictures(count: int, side: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# presets and backbones


@pytest.mark.parametrize(
    ("name", "grid", "width"),
    [
        ("paper", 14, 768),
        ("released", 14, 768),
        ("small", 14, 256),
        ("freehand", 10, 472),
        ("dinov2-small", 16, 384),
    ],
)
def test_presets_build(name: str, grid: int, width: int) -> None:
    with torch.device("meta"):
        network = ZSENetwork(config.get_preset(name))
    assert network.backbone.grid == (grid, grid)
    assert network.backbone.width == width


@pytest.mark.parametrize(
    ("name", "side", "grid"),
    [
        ("vit_tiny_patch16_224", 64, 4),
        ("test_vit", 64, 4),
        ("vit_small_patch32_224", 64, 2),
        ("vit_small_patch14_reg4_dinov2", 70, 5),
    ],
)
@pytest.mark.parametrize("on", ["off", "both"])
def test_any_patch_size(name: str, side: int, grid: int, on: str) -> None:
    """Patches of 14, 16 and 32 pixels, with registers too; the convolutional tokens follow the grid."""
    settings = replace(
        TINY,
        backbone=BackboneConfig(name=name, image_size=side),
        tokenizer=TokenizerConfig(on=on),  # type: ignore[arg-type]
    )
    network = build(settings)
    encoding = network.encode(pictures(2, side), "sketch")
    heads = network.backbone.vit.blocks[0].attn.num_heads
    assert encoding.tokens.shape == (2, 1 + grid**2, network.backbone.width)
    assert encoding.attention.shape == (2, heads, grid**2)
    assert torch.isfinite(network.score(encoding, encoding).logit).all()


@pytest.mark.fast
def test_backbone_is_timms() -> None:
    """Without tokenizer and selection the tokens are those of timm's own forward pass."""
    network = build(replace(TINY, backbone=BackboneConfig(name="vit_tiny_patch16_224", image_size=64)))
    x = pictures(2)
    torch.testing.assert_close(network.encode(x, "photo").tokens, network.backbone.vit.forward_features(x))


def test_ret_attention_is_the_last_blocks() -> None:
    """The given attention equals [Ret]'s row of the softmax that the last block forms."""
    network = build(replace(TINY, backbone=BackboneConfig(name="vit_tiny_patch16_224", image_size=64)))
    block, seen = network.backbone.vit.blocks[-1].attn, []
    block.fused_attn = False
    block.attn_drop.register_forward_hook(lambda _m, _i, out: seen.append(out))
    encoding = network.encode(pictures(2), "photo")
    torch.testing.assert_close(encoding.attention, seen[0][:, :, 0, 1:])
    assert (encoding.attention.sum(-1) < 1).all()  # the rest is [Ret]'s attention to itself


@pytest.mark.parametrize(("trunk", "stride"), [("repvgg_a0", 8), ("resnet18", 2), ("resnet18", 16)])
def test_trunks_of_other_makes_have_strides_too(trunk: str, stride: int) -> None:
    """What is below a stride is used by its map; what is not, is not."""
    embed = build(replace(TINY, backbone=replace(TINY.backbone, name=trunk))).backbone.vit.patch_embed
    assert isinstance(embed, TrunkEmbed)
    index = [info["reduction"] for info in embed.trunk.feature_info.info].index(stride)
    import timm

    maps = timm.create_model(trunk, features_only=True, out_indices=(index,)).eval()
    maps(pictures(1))[0].sum().backward()
    assert len(embed.parameters_of_map(stride)) == sum(p.grad is not None for p in maps.parameters())


@pytest.mark.parametrize("ret", ["token", "mean"])
def test_ret_starts_as_token_or_mean(ret: Literal["token", "mean"]) -> None:
    """Through blocks that add nothing, [Ret] leaves as it entered."""
    network = build(replace(TINY, backbone=replace(TINY.backbone, ret=ret)))
    vit = network.backbone.vit
    vit.norm = torch.nn.Identity()
    with torch.no_grad():
        vit.cls_token.fill_(3.0)
        for block in vit.blocks:
            for last in (block.attn.proj, block.mlp.fc2):
                last.weight.zero_(), last.bias.zero_()
        tokens = network.encode(pictures(2), "photo").tokens
    expected = 3.0 + vit.pos_embed[:, 0].expand(2, -1)
    if ret == "mean":
        expected = expected + tokens[:, 1:].mean(1)
    torch.testing.assert_close(tokens[:, 0], expected.detach())


def test_the_trunk_below_a_stride() -> None:
    """Its parameters, and none else, get a gradient from the map of that stride; the trunk's own names say so."""
    embed = build(TINY).backbone.vit.patch_embed
    assert isinstance(embed, TrunkEmbed)
    named = {id(p): name for name, p in embed.trunk.named_parameters()}
    below = {named[id(p)] for p in embed.parameters_of_map(8)}
    x = embed.trunk.bn1(embed.trunk.conv_stem(pictures(1)))
    for stage in list(embed.trunk.blocks)[:3]:
        x = stage(x)
    assert x.shape[-1] == 64 // 8
    x.sum().backward()
    assert below == {name for name, p in embed.trunk.named_parameters() if p.grad is not None}
    with pytest.raises(UsageError, match="no map of stride 5") as error:
        embed.parameters_of_map(5)
    assert "2, 4, 8, 16, 32" in error.value.hint


@pytest.mark.parametrize("name", ["resnet18", "no_such_model"])
def test_unknown_backbones_are_refused(name: str) -> None:
    with pytest.raises((UsageError, StoreError), match=name):
        ZSENetwork(replace(TINY, backbone=BackboneConfig(name=name)))


# tokenizer


@pytest.mark.parametrize(("on", "sketch_changes", "photo_changes"), [("sketch", True, False), ("both", True, True)])
def test_tokenizer_modalities(on: str, sketch_changes: bool, photo_changes: bool) -> None:
    """Conv tokens reach the modality they are for, and only that."""
    network = build(replace(TINY, tokenizer=TokenizerConfig(on=on)))  # type: ignore[arg-type]
    x = pictures(1)
    before = {role: network.encode(x, role).tokens for role in ("sketch", "photo")}  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in network.backbone.tokenizer.parameters():  # type: ignore[union-attr]
            weight.mul_(2)
    for role, changes in (("sketch", sketch_changes), ("photo", photo_changes)):
        same = torch.equal(before[role], network.encode(x, role).tokens)  # type: ignore[arg-type]
        assert same != changes


def test_tokenizer_is_resampled_in_bfloat16() -> None:
    """A grid that is not the stem's, as of patches of 14 pixels, in the precision that a CPU cannot resample in."""
    stem = ConvTokenizer(TokenizerConfig(on="both"), 8)
    tokens, picture = torch.zeros(1, 25, 8), pictures(1, 56)
    whole = stem(tokens, picture, (5, 5), True)
    half = stem.bfloat16()(tokens.bfloat16(), picture.bfloat16(), (5, 5), True)
    torch.testing.assert_close(half.float(), whole, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224"])
def test_what_scores_pairs_is_loaded_alone(tmp_path: Path, name: str) -> None:
    """Of a convolutional patch embedding too, where only the backbone itself knows its grid."""
    config = replace(TINY, backbone=BackboneConfig(name=name, image_size=64))
    path = checkpoint.save(build(config), tmp_path / "net.safetensors")
    whole, alone = checkpoint.load(path)[0], checkpoint.load_scoring(path)
    assert alone.n_patches == whole.n_patches
    tokens = torch.randn(2, 1 + whole.n_patches, whole.backbone.width)
    index = torch.arange(whole.n_patches).expand(2, -1)
    scores = [
        network.score_prepared(network.prepare(tokens, index, "sketch"), network.prepare(tokens, index, "photo")).logit
        for network in (whole, alone)
    ]
    torch.testing.assert_close(*scores)


def test_tokenizer_combines() -> None:
    tokens, x = torch.randn(1, 16, 32), pictures(1)
    torch.manual_seed(0)
    summed = Backbone(TINY.backbone, TokenizerConfig(on="both"), SelectionConfig()).tokenizer
    torch.manual_seed(0)
    mean = Backbone(TINY.backbone, TokenizerConfig(on="both", combine="mean"), SelectionConfig()).tokenizer
    assert summed is not None and mean is not None
    torch.testing.assert_close(summed(tokens, x, (4, 4), True), 2 * mean(tokens, x, (4, 4), True))


# selection


@pytest.mark.fast
def test_select_keeps_the_most_attended() -> None:
    attention = torch.tensor([[[0.1, 0.4, 0.2, 0.3], [0.1, 0.0, 0.6, 0.3]]])  # means .1 .2 .4 .3
    assert selection.select_tokens(attention, 0.5).tolist() == [[2, 3]]
    assert selection.select_tokens(attention, 0.51).tolist() == [[1, 2, 3]]


def test_published_counts() -> None:
    """196 -> 177 -> 160 -> 144 at the paper's rate."""
    count, counts = 196, []
    for _ in range(3):
        count = selection.select_tokens(torch.rand(1, 2, count), 0.9).shape[1]
        counts.append(count)
    assert counts == [177, 160, 144]


def test_indices_are_places_of_the_original_grid() -> None:
    """After two selections each index still names the patch its token came from.

    With blocks that change nothing but by their own token, a token's value identifies its place.
    """
    network = build(SELECTING)
    x = pictures(3)
    everything = build(TINY).encode(x, "photo")
    for block in network.backbone.vit.blocks:
        torch.nn.init.zeros_(block.attn.proj.weight)  # no exchange between tokens
        torch.nn.init.zeros_(block.attn.proj.bias)
    whole = ZSENetwork(TINY).eval()
    whole.load_state_dict(network.state_dict())
    everything, some = whole.encode(x, "photo"), network.encode(x, "photo")
    assert some.index.shape == (3, 9)  # 16 -> 12 -> 9
    assert (some.index.diff(dim=1) > 0).all()
    torch.testing.assert_close(some.tokens[:, 1:], selection.gather_tokens(everything.tokens[:, 1:], some.index))
    shown = selection.mask_of_kept(some.index, 16)
    assert (some.attention[~shown.unsqueeze(1).expand_as(some.attention)] == 0).all()
    assert (some.attention[shown.unsqueeze(1).expand_as(some.attention)] > 0).all()


@pytest.mark.parametrize("blocks", [(1, 3), (2, 2), (4,)])
def test_the_count_of_kept_tokens_is_known_before(blocks: tuple[int, ...]) -> None:
    network = build(replace(TINY, selection=SelectionConfig(rate=0.7, blocks=blocks)))
    assert network.encode(pictures(1), "photo").index.shape == (1, network.backbone.n_kept)


@pytest.mark.parametrize(("layout", "project"), [("grid", 0), ("grid", 3), ("memory", 3)])
@pytest.mark.parametrize("swap", ["q", "k"])
def test_dropped_tokens_count_for_nothing(swap: str, layout: str, project: int) -> None:
    """What stands in a dropped place cannot change the score."""
    settings = replace(
        SELECTING,
        cross_attention=CrossAttentionConfig(swap=swap, heads=2, hidden=32),  # type: ignore[arg-type]
        relation=RelationConfig(hidden=(16, 8), project=project, layout=layout),  # type: ignore[arg-type]
    )
    network = build(settings)
    sketch, photo = network.encode(pictures(2), "sketch"), network.encode(pictures(2, seed=5), "photo")
    clean = network.score(sketch, photo)
    prepared = (
        network.prepare(sketch.tokens, sketch.index, "sketch"),
        network.prepare(photo.tokens, photo.index, "photo"),
    )
    for one in prepared:
        assert one.mask is not None
        dropped = ~one.mask
        one.tokens[dropped] = 100.0
        one.q.transpose(1, 2)[dropped] = 100.0
        one.k.transpose(1, 2)[dropped] = 100.0
        if swap == "q":  # with K swapped a value is weighted by another picture's key, so it is zero from the start
            one.v.transpose(1, 2)[dropped] = 100.0
    torch.testing.assert_close(network.score_prepared(*prepared).logit, clean.logit)
    torch.testing.assert_close(network.score_prepared(*prepared).kernel, clean.kernel)


def test_selection_after_a_block_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="block 7"):
        ZSENetwork(replace(TINY, selection=SelectionConfig(rate=0.9)))


# cross-attention


def attention_by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    out = torch.zeros_like(q)
    size = q.shape[-1] // heads
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        out[:, part] = ((q[:, part] @ k[:, part].T) / size**0.5).softmax(-1) @ v[:, part]
    return out


@pytest.mark.fast
@pytest.mark.parametrize("swap", ["q", "k"])
def test_streams_swap_what_they_say(swap: str) -> None:
    torch.manual_seed(0)
    settings = CrossAttentionConfig(swap=swap, heads=2, hidden=16, dropout=0.0)  # type: ignore[arg-type]
    cross = CrossAttention(settings, 8).eval()
    sketch, photo = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    out = cross(cross.prepare(sketch, "sketch"), cross.prepare(photo, "photo"))
    for layer, own, other, ours in ((cross.sketch, sketch, photo, out[0]), (cross.photo, photo, sketch, out[1])):
        query, key = (other, own) if swap == "q" else (own, other)
        mixed = attention_by_hand(layer.query(query)[0], layer.key(key)[0], layer.value(own)[0], 2)
        x = layer.norm1(own[0] + layer.out(mixed))
        torch.testing.assert_close(ours[0], layer.norm2(x + layer.feed_forward(x)))


def test_unbiased_norm() -> None:
    torch.manual_seed(0)
    norm = CrossAttention(CrossAttentionConfig(norm="unbiased", heads=1, hidden=4), 4).sketch.norm1
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    std = np.std([1, 2, 3, 6], ddof=1)
    np.testing.assert_allclose(norm(x).detach(), (x - 3) / (std + 1e-6), rtol=1e-6)


# relation network


def kernel_by_hand(sketch: np.ndarray, photo: np.ndarray, side: int, kept: np.ndarray | None) -> np.ndarray:
    """Mean of the kept tokens of each 2 x 2 cell, cosine of every pair of cells, 0 for an empty one."""

    def cells(tokens: np.ndarray) -> list[np.ndarray | None]:
        out: list[np.ndarray | None] = []
        for top in range(0, side, 2):
            for left in range(0, side, 2):
                places = [
                    r * side + c for r in range(top, min(top + 2, side)) for c in range(left, min(left + 2, side))
                ]
                places = [p for p in places if kept is None or kept[p]]
                out.append(tokens[places].mean(0) if places else None)
        return out

    def cosine(a: np.ndarray | None, b: np.ndarray | None) -> float:
        return 0.0 if a is None or b is None else float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    return np.array([[cosine(a, b) for b in cells(photo)] for a in cells(sketch)])


@pytest.mark.fast
@pytest.mark.parametrize("side", [4, 5])  # 5: the last cells are half outside
@pytest.mark.parametrize("selects", [False, True])
def test_kernel_is_the_cosine_of_cells(side: int, selects: bool) -> None:
    torch.manual_seed(0)
    relation = RelationNetwork(RelationConfig(hidden=(8,)), 6, (side, side)).eval()
    sketch, photo = torch.randn(1, side**2, 6), torch.randn(1, side**2, 6)
    kept = None
    if selects:
        kept = torch.rand(1, side**2) > 0.4
        kept[0, [0, 1, side, side + 1]] = False  # one cell is empty
    _, kernel, _ = relation(sketch, photo, kept, kept)
    expected = kernel_by_hand(sketch[0].numpy(), photo[0].numpy(), side, None if kept is None else kept[0].numpy())
    np.testing.assert_allclose(kernel[0].numpy(), expected, atol=1e-6)


def test_a_direct_relation_network_adds_the_cosines() -> None:
    """With `direct` the logit gains 5 (cosine of [Ret] + mean cosine of equal cells - 1), and begins as that alone."""
    plain, direct = (build(replace(TINY, relation=replace(TINY.relation, direct=on))) for on in (False, True))
    sketch, photo = direct.encode(pictures(3), "sketch"), direct.encode(pictures(3).flip(0) + 1, "photo")
    score = direct.score(sketch, photo)
    added = 5 * (F.cosine_similarity(sketch.ret, photo.ret) + score.kernel.diagonal(dim1=1, dim2=2).mean(1) - 1)
    torch.testing.assert_close(score.logit, added, rtol=0, atol=1e-5)
    direct.load_state_dict(plain.state_dict(), strict=False)
    score = direct.score(sketch, photo)
    added = 5 * (F.cosine_similarity(sketch.ret, photo.ret) + score.kernel.diagonal(dim1=1, dim2=2).mean(1) - 1)
    torch.testing.assert_close(score.logit, plain.score(sketch, photo).logit + added, rtol=0, atol=1e-5)


def test_quiet_cross_attention_begins_with_what_it_is_given() -> None:
    network = build(replace(TINY, cross_attention=replace(TINY.cross_attention, quiet=True)))
    sketch, photo = network.encode(pictures(2), "sketch"), network.encode(pictures(2, seed=2), "photo")
    streams = network.cross_attention(
        network.prepare(sketch.tokens, sketch.index, "sketch"), network.prepare(photo.tokens, photo.index, "photo")
    )
    for stream, given in zip(streams, (sketch, photo), strict=True):
        torch.testing.assert_close(stream, F.layer_norm(F.layer_norm(given.tokens, (32,)), (32,)))


def test_projected_cells_are_places() -> None:
    """With `project`, changing a token changes the row of its own cell in the kernel and no other."""
    torch.manual_seed(0)
    relation = RelationNetwork(RelationConfig(hidden=(8,), project=3), 6, (4, 4)).eval()
    tokens = torch.randn(1, 16, 6)
    changed = tokens.clone()
    changed[0, 7] += 1  # row 1, column 3 of the grid: cell 1
    difference = (relation.compute_cells(changed) - relation.compute_cells(tokens)).abs().sum(-1)[0]
    assert (difference > 0).tolist() == [False, True, False, False]


@pytest.mark.fast
def test_memory_layout_is_a_reinterpretation() -> None:
    torch.manual_seed(0)
    relation = RelationNetwork(RelationConfig(hidden=(8,), project=3, layout="memory"), 6, (4, 4)).eval()
    tokens = torch.randn(2, 16, 6)
    assert relation.pool is not None
    expected = F.normalize(relation.pool(tokens.contiguous().view(2, 6, 4, 4)).flatten(2).transpose(1, 2), dim=-1)
    torch.testing.assert_close(relation.compute_cells(tokens), expected)


# checkpoints


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "tiny.safetensors"
    return checkpoint.save(build(SELECTING), path)


@pytest.mark.fast
def test_checkpoint_round_trip(saved: Path) -> None:
    """Configuration and weights come back; nothing else lies beside them."""
    loaded, unused = checkpoint.load(saved)
    assert (loaded.config, unused) == (SELECTING, [])
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
    x = pictures(2)
    torch.testing.assert_close(loaded.encode(x, "sketch").tokens, build(SELECTING).encode(x, "sketch").tokens)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backbone.vit.cls_token": None}, "missing backbone.vit.cls_token"),
        ({"backbone.more": torch.zeros(1)}, "too many backbone.more"),
        ({"backbone.vit.cls_token": torch.zeros(2)}, "backbone.vit.cls_token has shape"),
        ({"backbone.vit.cls_token": torch.full((1, 1, 32), torch.nan)}, "not finite"),
        ({"version": "2.0"}, "version 2.0"),
        ({"config": "{}"}, "missing key"),
        ({"config": replace(TINY, relation=replace(TINY.relation, direct=1)).to_json()}, "direct must be bool"),  # type: ignore[arg-type]
        ({"config": "nonsense"}, "configuration is wrong"),
        ({"config": TINY.to_json().replace('"depth": 4', '"depth": "4"')}, "depth must be int"),
        ({"config": TINY.to_json().replace('"swap": "q"', '"swap": "v"')}, "swap"),
        ({"config": TINY.to_json().replace('"depth"', '"depht"')}, "depth|depht"),
    ],
)
def test_checkpoints_that_do_not_fit(saved: Path, tmp_path: Path, changes: dict[str, object], says: str) -> None:
    path = rewrite(saved, tmp_path / "other.safetensors", **changes)
    with pytest.raises(StoreError, match=says):
        checkpoint.load(path)


def test_a_checkpoint_of_version_1_0(tmp_path: Path) -> None:
    """It lacks what its configuration got later, and means the default."""
    path = checkpoint.save(build(TINY), tmp_path / "old.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata() | {"zse-schema-version": "1.0"}
    del metadata["checksum"]
    settings = json.loads(metadata["config"])
    del settings["backbone"]["ret"], settings["relation"]["direct"], settings["cross_attention"]["quiet"]
    save_file(load_file(path), path, metadata | {"config": json.dumps(settings)})
    assert checkpoint.load(path)[0].config == TINY


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_nothing_is_unpickled(tmp_path: Path, suffix: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"evil{suffix}"
    path.write_bytes(pickle.dumps({"model": Evil(mark)}))
    with pytest.raises(StoreError, match="evil"):
        checkpoint.load(path)
    torch.save({"model": Evil(mark)}, path)
    with pytest.raises(StoreError, match="evil"):
        checkpoint.load(path)
    assert not mark.exists()


def test_backbone_weights_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    save_file({"conv_stem.weight": torch.zeros(1)}, path)
    with pytest.raises(StoreError, match="no zse checkpoint") as error:
        checkpoint.load(path)
    assert "frozen:NAME=FILE" in error.value.hint


@pytest.mark.parametrize("name", list(config.PRESETS))
def test_configurations_travel(name: str) -> None:
    settings = config.get_preset(name)
    assert config.from_json(settings.to_json(), "here") == settings
    assert dataclasses.asdict(settings)["preset"] == name


def test_unknown_preset() -> None:
    with pytest.raises(UsageError) as error:
        config.get_preset("smal")
    assert "small" in error.value.hint


def test_the_documented_interface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python example of docs/model.md runs, and prints the shapes that it says."""
    text = (Path(__file__).parents[2] / "docs/model.md").read_text("utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    shapes = [part.split(")")[0] for part in capsys.readouterr().out.split("torch.Size(")[1:]]
    said = [
        part.split(")")[0]
        for line in code.splitlines()
        if "  # (" in line
        for part in line.split("  # ")[1].split("(")[1:]
    ]
    assert [s.strip("[]") for s in shapes] == [s.rstrip(",") for s in said]


# a backbone's own weights


def test_a_backbone_takes_its_weights_whole(tmp_path: Path) -> None:
    """A file with a classifier and without batch counters fills a trunk; every parameter comes from it."""
    import timm

    torch.manual_seed(3)
    whole = timm.create_model("tf_efficientnet_lite0")
    path = tmp_path / "trunk.safetensors"
    save_file({k: v for k, v in whole.state_dict().items() if "num_batches" not in k}, path)
    network = ZSENetwork(TINY, weights=path)
    trunk = network.backbone.vit.patch_embed.trunk
    for name, value in trunk.named_parameters():
        assert torch.equal(value, whole.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv_stem.weight": None}, "missing conv_stem.weight"),
        ({"more.weight": torch.zeros(1)}, "too many more.weight"),
        ({"conv_stem.weight": torch.zeros(2)}, "conv_stem.weight has shape"),
        ({"bn1.bias": torch.full((32,), torch.nan)}, "bn1.bias holds values that are not finite"),
    ],
)
def test_other_weights_than_the_backbones(tmp_path: Path, change: dict[str, torch.Tensor | None], says: str) -> None:
    """A file that does not hold the backbone is refused by the name of a key, never half taken."""
    import timm

    state = {k: v for k, v in timm.create_model("tf_efficientnet_lite0").state_dict().items() if "num_batches" not in k}
    for name, value in change.items():
        state.pop(name, None)
        if value is not None:
            state[name] = value
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    with pytest.raises(StoreError, match=says):
        load(ModelSpec.parse(f"frozen:tf_efficientnet_lite0={path}"), "cpu")
    with pytest.raises(StoreError, match=says):
        ZSENetwork(TINY, weights=path)


@pytest.mark.parametrize("suffix", ["pth", "bin"])
def test_a_backbones_weights_are_not_unpickled_either(tmp_path: Path, suffix: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"evil.{suffix}"
    torch.save({"state_dict": {"conv_stem.weight": Evil(mark)}}, path)
    with pytest.raises(StoreError, match="not tensors alone"):
        load(ModelSpec.parse(f"frozen:tf_efficientnet_lite0={path}"), "cpu")
    assert not mark.exists()


def test_a_timm_name_is_a_preset() -> None:
    settings = config.get_preset("vit_small_patch16_224.augreg_in1k")
    assert settings.backbone.name == "vit_small_patch16_224.augreg_in1k"
    assert settings.preprocess.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("size", [1, 30, 1000], ids=["usual", "steep", "beyond what exponentials hold"])
def test_attention_in_bfloat16_is_softmax_but_for_rounding(size: float) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 7, 16).bfloat16() for _ in range(3))
    q *= size
    kept = torch.rand(3, 7) > 0.3
    with torch.inference_mode():
        scores = (q / 4 @ k.transpose(-1, -2)).float()  # 4: the root of 16
        for mask in (None, kept):
            counted = scores if mask is None else scores.masked_fill(~mask[:, None, None], -torch.inf)
            exact = counted.softmax(-1) @ v.float()
            torch.testing.assert_close(attend(q, k, v, mask, 0.0).float(), exact, rtol=0, atol=0.03)
