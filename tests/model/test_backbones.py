"""Networks of timm as trunks and backbones, with local weights in timm's own names: a small one of every make."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.commands import Zse
from helpers.tiny import TINY, build
from zsecli.errors import UsageError
from zsecli.images.preprocess_rules import Preprocess
from zsecli.model import checkpoint
from zsecli.model.config import BackboneConfig, ModelConfig, SelectionConfig
from zsecli.model.network import ZSENetwork
from zsecli.model.timm_models import create_model
from zsecli.model.trunk import compute_maps, repeat_border
from zsecli.model.trunk_embed import TrunkEmbed
from zsecli.model.vit import compute_ret_attention, find_positions

TRUNKS = {
    "test_efficientnet": "names as in the whole model",
    "test_convnext": "names flattened, four maps",
    "test_byobnet": "names flattened, five maps",
    "ghostnet_050": "blocks of a sequence, flattened",
    "test_nfnet": "standardised weights",
    "test_mambaout": "maps with the channels last",
    "edgenext_xx_small": "linear layers, which timm begins anew in a Vision Transformer",
    "levit_128s": "maps that timm computes on request; three of them; one size of pictures",
    "efficientvit_m0": "strides 16, 32 and 64",
}
VITS = {
    "test_vit": "plain",
    "test_vit3": "pooled by attention, registers, no class token",
    "eva02_tiny_patch14_224": "EVA-02: rotations, separate queries and keys",
    "vit_small_patch16_dinov3": "DINOv3: rotations, registers",
    "vit_small_patch16_rope_mixed_224": "rotations of each block",
    "beit_base_patch16_224": "BEiT: a bias in each block",
}


ONE_SIZE = ("levit_128s", "efficientvit_m0")  # 224 pixels


def picture(count: int = 1, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def saved(name: str, path: Path) -> dict[str, Tensor]:
    """A file of random weights in timm's names, as timm.create_model(NAME).state_dict() has them."""
    torch.manual_seed(3)
    state = {k: v.clone().contiguous() for k, v in timm.create_model(name).state_dict().items()}
    save_file(state, path)
    return state


def hybrid(name: str) -> ModelConfig:
    side = 224 if name in ONE_SIZE else 64
    backbone = replace(TINY.backbone, name=name, image_size=side, depth=1)
    return replace(TINY, backbone=backbone, preprocess=Preprocess(size=side))


def vit(name: str, side: int = 56, rate: float = 1.0) -> ModelConfig:
    side = side if "patch14" in name else 64
    selection = SelectionConfig(rate, blocks=(1, 3))
    backbone = BackboneConfig(name=name, image_size=side)
    return replace(TINY, backbone=backbone, selection=selection, preprocess=Preprocess(size=side))


@pytest.mark.parametrize("name", TRUNKS)
def test_a_trunk_takes_timms_weights(tmp_path: Path, name: str) -> None:
    """Its maps are those of timm's own network with these weights, before and after a checkpoint."""
    path = tmp_path / "weights.safetensors"
    state = saved(name, path)
    settings, side = hybrid(name), 224 if name in ONE_SIZE else 64
    network = ZSENetwork(settings, weights=path).eval()
    embed = network.backbone.vit.patch_embed
    assert isinstance(embed, TrunkEmbed)
    overlay = {"state_dict": state, "custom_load": False}
    own = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **embed.options).eval()
    with torch.inference_mode():
        near, far = (
            x.permute(0, 3, 1, 2) if getattr(own, "output_fmt", None) == "NHWC" else x for x in own(picture(1, side))
        )
        maps = embed.compute_maps(picture(1, side)).transpose(1, 2).unflatten(2, network.backbone.grid)
        torch.testing.assert_close(maps[:, : near.shape[1]], near)
        expected = nn.functional.interpolate(far, size=near.shape[-2:], mode="bilinear")
        torch.testing.assert_close(maps[:, near.shape[1] :], expected)
        again = checkpoint.load(checkpoint.save(network, tmp_path / "net.safetensors"))[0]
        tokens = [each.encode(picture(1, side), "photo").tokens for each in (network, again)]
        torch.testing.assert_close(*tokens)
    create_model(name, True, path, num_classes=0)  # the same file beside frozen:NAME


def test_maps_that_are_caught_by_hooks(tmp_path: Path) -> None:
    """Such a network keeps them in itself, between threads too; its names have a beginning of their own."""
    state = saved("test_resnet", tmp_path / "w.pth")
    options = {"features_only": True, "out_indices": (3, 4), "feature_cls": "hook"}
    trunk = create_model("test_resnet", True, tmp_path / "w.pth", **options).eval()
    for name, parameter in trunk.named_parameters():
        assert torch.equal(parameter, state[name.removeprefix("body.")])
    pictures = [picture(1) * scale for scale in range(1, 9)]

    def maps(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return compute_maps(trunk, x, 4)

    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(maps, pictures * 8), [maps(x) for x in pictures] * 8, strict=True):
            torch.testing.assert_close(found, expected)


def test_a_trunk_without_padding_leaves_the_border_out() -> None:
    """inception_v3 has 12 x 12 places of 14 x 14: they lie in the middle, the outermost stand for what is missing."""
    with torch.random.fork_rng():
        x = torch.rand(1, 3, 12, 12)
    whole = repeat_border(x, 14)
    torch.testing.assert_close(whole[:, :, 1:13, 1:13], x)
    torch.testing.assert_close(whole, nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"))
    with torch.device("meta"):
        network = ZSENetwork(replace(TINY, backbone=replace(TINY.backbone, name="inception_v3", image_size=224)))
        assert network.backbone.forward_frozen(torch.zeros(1, 3, 224, 224)).shape == (1, 196, 768 + 2048)


@pytest.mark.parametrize(
    ("name", "side", "says"),
    [
        ("xcit_nano_12_p8_224", 64, "no maps at strides 16 and 32: its strides are 8"),
        ("halonet26t", 64, "takes no pictures of 64 x 64 pixels"),
        ("test_vit", 64, "no maps at strides 16 and 32"),
    ],
)
def test_trunks_that_cannot_be(name: str, side: int, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        ZSENetwork(replace(TINY, backbone=replace(TINY.backbone, name=name, image_size=side)))
    assert "network" not in error.value.hint


@pytest.mark.parametrize("name", VITS)
def test_tokens_and_attention_are_those_of_timm(name: str) -> None:
    """With timm's own blocks, places and norms; BEiT and EVA-02 have their last norm behind the pooling."""
    network = build(vit(name))
    own, seen, x = network.backbone.vit, [], picture(2, network.config.backbone.image_size)
    for parameter in network.parameters():  # a bias that begins as 0 would hide that it is forgotten
        nn.init.normal_(parameter, std=0.05)
    attention = own.blocks[-1].attn
    with torch.inference_mode():
        encoding = network.encode(x, "photo")
        attention.fused_attn = False  # so that timm forms the matrix
        attention.attn_drop.register_forward_hook(lambda _m, _i, out: seen.append(out))
        network.encode(x, "photo")
        torch.testing.assert_close(encoding.attention, seen[0][:, :, 0, network.backbone.n_prefix_tokens :])
        if own.cls_token is None:  # timm's own tokens do not know [Ret]
            return
        expected = own.forward_features(x)
        expected = own.fc_norm(expected) if isinstance(own.norm, nn.Identity) else expected
    torch.testing.assert_close(encoding.tokens[:, 0], expected[:, 0])
    torch.testing.assert_close(encoding.tokens[:, 1:], expected[:, own.num_prefix_tokens :])


def test_ret_of_a_backbone_without_class_token_begins_as_the_mean() -> None:
    """Through blocks that add nothing it leaves as it entered: the mean of the patches, and a token that is learned."""
    network = build(vit("test_vit3"))
    own, x = network.backbone.vit, picture(2)
    assert own.cls_token is None and network.backbone.n_prefix_tokens == own.num_prefix_tokens + 1
    own.norm = own.fc_norm = nn.Identity()
    own.blocks = nn.Sequential()
    opened = network.backbone._prepend_ret(own.patch_embed(x))
    torch.testing.assert_close(opened[:, 0], own.norm_pre(opened[:, network.backbone.n_prefix_tokens :]).mean(1))
    network.encode(x, "photo").ret.sum().backward()
    assert network.backbone.ret_token is not None and network.backbone.ret_token.grad is not None


@pytest.mark.parametrize("name", [n for n in VITS if not n.startswith("beit")])
def test_tokens_can_be_dropped_where_places_are_rotations(name: str) -> None:
    """What is kept knows its own place: with all tokens kept by number, dropping none changes nothing."""
    network = build(vit(name, rate=0.7))
    out = network.encode(picture(2, network.config.backbone.image_size), "photo")
    assert out.index.shape == (2, network.backbone.n_kept) and out.tokens.isfinite().all()
    places = find_positions(network.backbone.vit)
    every = torch.arange(network.backbone.n_patches).expand(2, -1)
    x = torch.randn(2, network.backbone.n_prefix_tokens + network.backbone.n_patches, network.backbone.width)
    block = network.backbone.vit.blocks[0]
    torch.testing.assert_close(block(x, **places.options(0, every)), block(x, **places.options(0, None)))
    options = [places.options(0, index) for index in (every, None)]
    torch.testing.assert_close(compute_ret_attention(block, x, options[0]), compute_ret_attention(block, x, options[1]))


def test_tokens_of_beit_cannot_be_dropped() -> None:
    with torch.device("meta"), pytest.raises(UsageError, match="biased by their places") as error:
        ZSENetwork(vit("beit_base_patch16_224", rate=0.7))
    assert "--keep-rate 1" in error.value.hint


@pytest.mark.parametrize("name", ["test_vit3", "eva02_tiny_patch14_224", "vit_small_patch16_dinov3"])
def test_a_backbone_comes_back_from_its_checkpoint(tmp_path: Path, name: str) -> None:
    """With what it computes as it is made, and keeps in no file."""
    network = build(vit(name))
    again = checkpoint.load(checkpoint.save(network, tmp_path / "net.safetensors"))[0]
    x = picture(1, network.config.backbone.image_size)
    with torch.inference_mode():
        torch.testing.assert_close(again.encode(x, "photo").tokens, network.encode(x, "photo").tokens)


def test_a_frozen_part_of_a_backbone_without_class_token() -> None:
    """What is computed once a picture, and what comes behind it, are together the whole."""
    for name in ("test_vit3", "vit_small_patch16_dinov3"):
        network = build(vit(name))
        with torch.inference_mode():
            tokens = network.backbone.forward_trainable(network.backbone.forward_frozen(picture(), 1), 1).tokens
            torch.testing.assert_close(tokens, network.encode(picture(), "photo").tokens)


# the command line


@pytest.fixture
def data(zse: Zse, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "unseen.txt").write_text("lock\n")
    zse("prepare", "folder", pictures, "--unseen", "unseen.txt", "--name", "few").ok()


RUN = ("train", "few", "--epochs", "1", "--epoch-draws", "2", "--batch-size", "2", "-o", "net.safetensors")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", ["test_convnext", "test_vit3"])
def test_training_from_local_weights(zse: Zse, tmp_path: Path, name: str) -> None:
    saved(name, tmp_path / "w.pth")  # a safetensors file, whatever it is called
    small = ("--preset", "small", "--outlines", "0") if name in TRUNKS else ()
    words = (*RUN, *small, "--backbone", name, "--backbone-weights", "w.pth")
    assert "parameters" in zse(*words, "--dry-run").err
    zse(*words).ok()
    assert checkpoint.read_config(tmp_path / "net.safetensors").backbone.name == name


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("backbone", "weights", "code", "says"),
    [
        ("test_convnext", "test_byobnet", 3, "w.pth: not weights of test_convnext: missing"),
        ("xcit_nano_12_p8_224", "xcit_nano_12_p8_224", 2, "no maps at strides 16 and 32"),
        ("ghostnet_050", None, 3, "timm has no weights of"),
    ],
)
def test_a_dry_run_says_what_the_run_says(
    zse: Zse, tmp_path: Path, backbone: str, weights: str | None, code: int, says: str
) -> None:
    given: tuple[str, ...] = ()
    if weights:
        saved(weights, tmp_path / "w.pth")
        given = ("--backbone-weights", "w.pth")
    words = (*RUN, "--preset", "small", "--backbone", backbone, *given)
    told = [zse(*words, *more).refused(code, says) for more in ((), ("--dry-run",))]
    assert told[0] == told[1]


@pytest.mark.usefixtures("data")
def test_a_network_that_is_no_transformer_is_a_trunk(zse: Zse, tmp_path: Path) -> None:
    """As the hint says, which is followed."""
    saved("test_resnet", tmp_path / "w.pth")
    words = (*RUN, "--backbone", "test_resnet", "--backbone-weights", "w.pth")
    assert "--preset small --backbone test_resnet" in zse(*words, "--dry-run").refused(2, "cannot be this backbone")
    assert zse(*words, "--preset", "small", "--outlines", "0", "--dry-run").code == 0
