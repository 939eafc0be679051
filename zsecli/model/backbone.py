"""The self-attention backbone: a timm Vision Transformer with [Ret] in the class token's place."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.errors import StoreError, UsageError
from zsecli.model import vit as vits
from zsecli.model.backbone_weights import fill_backbone
from zsecli.model.config import BackboneConfig, RetrievalConfig, SelectionConfig, TokenizerConfig
from zsecli.model.modality_mean import ModalityMean
from zsecli.model.retrieval_head import Retrieval, RetrievalHead
from zsecli.model.selection import count, find_strokes, gather, select, to_grid
from zsecli.model.tokenizer import ConvTokenizer
from zsecli.model.trunk import compute_maps, find_below, find_map_channels, find_maps, lay_over, to_channels_first
from zsecli.model.vit import ret_attention

KINDS = "take a plain ViT, EVA, DINOv3 or BEiT of timm"
WITH_CLASSES = "take a backbone with a classifier of its class token, or --preset small"
LOCAL = "frozen:NAME=FILE, --backbone-weights FILE"


@dataclass
class Encoding:
    """Backbone output for a batch of B pictures.

    tokens: (B, 1 + T, D), [Ret] first, then the T kept patch tokens in grid order.
    index: (B, T) int64, the place of each kept token in the picture's original grid of P places.
    attention: (B, H, P), [Ret]'s attention to the patches in the last block, one map a head; 0 where dropped.
    retrieval: of a network that keeps the head of its backbone.
    """

    tokens: Tensor
    index: Tensor
    attention: Tensor
    retrieval: Retrieval | None = None

    @property
    def ret(self) -> Tensor:
        """(B, R), the retrieval vector; of most networks the token [Ret], (B, D)."""
        return self.tokens[:, 0] if self.retrieval is None else self.retrieval.vector


class Backbone(nn.Module):
    """Tokenizer, transformer blocks and token selection."""

    def __init__(
        self,
        config: BackboneConfig,
        tokenizer: TokenizerConfig,
        selection: SelectionConfig,
        pretrained: bool = False,
        weights: Path | None = None,
        retrieval: RetrievalConfig = RetrievalConfig(),  # noqa: B008, it is frozen
    ) -> None:
        super().__init__()
        build = _hybrid if config.kind == "hybrid" else _vit
        self.vit: Any = build(config, pretrained, weights, keep_head=retrieval.kind == "head")
        if config.norm_eps is not None:
            for module in self.vit.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = config.norm_eps
        self.grid: tuple[int, int] = tuple(self.vit.patch_embed.grid_size)
        self.places = self.grid[0] * self.grid[1]
        self.width: int = self.vit.embed_dim
        self.selection, self.mean_ret = selection, config.ret == "mean"
        self.ret_token: nn.Parameter | None = None
        if not vits.has_class_token(self.vit):  # [Ret] is a token of its own, and begins as the mean of the patches
            self.ret_token, self.mean_ret = nn.Parameter(torch.zeros(1, 1, self.width)), True
            vits.add_prefix_token(self.vit)
        self.prefix: int = self.vit.num_prefix_tokens + (self.ret_token is not None)
        self.tokenizer = ConvTokenizer(tokenizer, self.width) if tokenizer.on != "off" else None
        self.retrieval_head: RetrievalHead | None = None
        self.token_mean: ModalityMean | None = None
        if retrieval.kind == "head":
            is_hybrid = config.kind == "hybrid"
            classifier = self.classifier
            features, classes = classifier.in_features, classifier.out_features
            self.retrieval_head = RetrievalHead(retrieval, features, classes, self.width if is_hybrid else None)
            if not is_hybrid:  # the maps of a trunk have means of their own
                self.token_mean = ModalityMean(self.width)
        beyond = [b for b in selection.blocks if not 1 <= b <= len(self.vit.blocks)]
        if selection.rate < 1 and beyond:
            raise UsageError(f"tokens cannot be selected after block {beyond[0]}: there are {len(self.vit.blocks)}")
        if selection.rate < 1:
            self.check_selection()

    def check_selection(self) -> None:
        """UsageError where no token can be dropped between the blocks."""
        if not vits.can_drop_tokens(self.vit):
            raise UsageError(
                "tokens cannot be selected in a backbone whose attention is biased by their places",
                "--keep-rate 1, or another backbone",
            )

    @property
    def kept(self) -> int:
        """Patch tokens left after the last selection."""
        left = self.places
        if self.selection.rate < 1:
            for _ in set(self.selection.blocks):
                left = count(self.selection.rate, left)
        return left

    @property
    def classifier(self) -> nn.Linear:
        """The classifier that the backbone was trained with; UsageError where it has none."""
        embed = self.vit.patch_embed
        model, name = (embed.trunk, embed.name) if isinstance(embed, TrunkEmbed) else (self.vit, "this backbone")
        classifier = model.get_classifier()
        if not isinstance(classifier, nn.Linear):
            raise UsageError(f"{name} has no classifier, whose head the retrieval vector is made of", WITH_CLASSES)
        return classifier

    def forward(self, picture: Tensor, sketch: bool) -> Encoding:
        """Normalised pictures (B, 3, H, W) of one modality -> their Encoding."""
        encoding = self._encode(picture, sketch)
        if sketch and self.selection.blank == "drop":
            drawn = find_strokes(picture, self.grid).gather(1, encoding.index).unsqueeze(-1)
            ret, patches = encoding.tokens[:, :1], encoding.tokens[:, 1:]
            encoding.tokens = torch.cat([ret, patches * drawn], 1)  # 0: see Scoring.prepare
        return encoding

    def _encode(self, picture: Tensor, sketch: bool) -> Encoding:
        embed = self.vit.patch_embed
        if self.retrieval_head is not None and isinstance(embed, HeadedTrunkEmbed):
            patches, feature = embed.tokens_and_feature(picture, sketch)
            if self.tokenizer is not None:
                patches = self.tokenizer(patches, picture, self.grid, sketch)
            encoding = self.finish(patches, patches=True)
            encoding.retrieval = self.retrieval_head(feature, encoding.tokens[:, 0], sketch, self.classifier)
            return encoding
        encoding = self._encode_without_head(picture, sketch)
        if self.retrieval_head is not None:
            assert self.token_mean is not None
            ret, patches = encoding.tokens[:, :1], encoding.tokens[:, 1:]
            encoding.retrieval = self.retrieval_head(ret[:, 0], ret[:, 0], sketch, self.classifier)
            encoding.tokens = torch.cat([ret, self.token_mean(patches, sketch)], 1)
        return encoding

    def _encode_without_head(self, picture: Tensor, sketch: bool) -> Encoding:
        x = self.begin(picture)
        if self.tokenizer is None:
            return self.finish(x)
        return self.finish(self.tokenizer(self._patches(x), picture, self.grid, sketch), patches=True)

    def begin(self, picture: Tensor, blocks: int = 0) -> Tensor:
        """The part that training may freeze: patch embedding and the first `blocks` blocks, without tokenizer.

        Returns:
            (B, P, C), the trunk's maps of a hybrid or the patch tokens; behind a block (B, prefix + P, D).
        """
        embed = self.vit.patch_embed
        x: Tensor = embed.maps(picture) if isinstance(embed, TrunkEmbed) else embed(picture)
        if not blocks:
            return x
        x, places = self._open(self._patches(x)), vits.find_places(self.vit)
        for number, block in enumerate(self.vit.blocks[:blocks]):
            x = block(x, **places.options(number, None))
        return x

    def _patches(self, x: Tensor) -> Tensor:
        embed = self.vit.patch_embed
        return embed.proj(x) if isinstance(embed, TrunkEmbed) else x

    def _open(self, x: Tensor) -> Tensor:
        vit = self.vit
        x = vits.embed_positions(vit, x)
        if self.mean_ret:
            mean = x[:, vit.num_prefix_tokens :].mean(1, keepdim=True)
            if self.ret_token is not None:
                x = torch.cat([self.ret_token + mean, x], 1)
            else:
                x = torch.cat([x[:, :1] + mean, x[:, 1:]], 1)
        return vit.norm_pre(x) if hasattr(vit, "norm_pre") else x

    def finish(self, x: Tensor, blocks: int = 0, patches: bool = False) -> Encoding:
        """What `begin` made with the same `blocks` -> the Encoding. patches: x is the patch tokens (B, P, D)."""
        vit = self.vit
        if not blocks:
            x = self._open(x if patches else self._patches(x))
        prefix, last, places = self.prefix, len(vit.blocks), vits.find_places(vit)
        left: Tensor | None = None  # the patches that no selection dropped; None: all of them
        index = torch.arange(self.places, device=x.device).expand(len(x), -1)
        attention = x.new_empty(0)
        for number, block in enumerate(vit.blocks[blocks:], blocks + 1):
            selects = self.selection.rate < 1 and number in self.selection.blocks
            options = places.options(number - 1, left)
            before, x = x, block(x, **options)
            if not (selects or number == last):
                continue
            row = ret_attention(block, before, options)[..., prefix:]
            if number == last:
                attention = to_grid(row, index, self.places)
            if selects:
                keep = select(row, self.selection.rate)
                x = torch.cat([x[:, :prefix], gather(x[:, prefix:], keep)], 1)
                index = left = index.gather(1, keep)
        x = vits.last_norm(vit)(x)
        return Encoding(torch.cat([x[:, :1], x[:, prefix:]], 1), index, attention)


def create(name: str, pretrained: bool, weights: Path | None, **options: Any) -> Any:
    """timm.create_model with its failures told in one line.

    Args:
        pretrained: fetch the weights that timm knows for `name`. weights: take them from this file instead.
    """
    fetches = pretrained and weights is None
    if fetches:
        check_source(name)
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)  # it repeats every attempt; the error below says it once
        model = timm.create_model(name, pretrained=fetches, **options)
    except TypeError as error:  # it has not the arguments of its kind
        raise UsageError(
            f"{name} cannot be this backbone", f"{KINDS}; others may be a trunk: --preset small --backbone {name}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # there is no end of the kinds that timm's networks raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "take another backbone"
        if "Unknown model" in first:
            hint = "timm.list_models() has the names"
        elif fetches:
            hint = f"weights from a hub need a network; a local file does not: {LOCAL}"
        raise StoreError(f"timm cannot make {name}: {first}", hint) from error
    finally:
        logger.setLevel(level)
    if weights is not None:
        fill_backbone(model, name, weights, options)
    return model


def check_source(name: str) -> None:
    """StoreError where timm knows no weights for `name` that it could fetch."""
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if known is not None and not known.has_weights:
        raise StoreError(f"timm has no weights of {name}", f"give them as a file: {LOCAL}; or zse train --scratch")


def _vit(config: BackboneConfig, pretrained: bool, weights: Path | None, keep_head: bool) -> Any:
    options: dict[str, Any] = {
        "img_size": config.image_size,
        "proj_drop_rate": config.dropout,
        "pos_drop_rate": config.dropout,
    }
    if not keep_head:
        options["num_classes"] = 0
    if not _is_beit(config.name):
        options["dynamic_img_size"] = False  # the patches of such a one are a map, not tokens
    vit = create(config.name, pretrained, weights, **options)
    if not vits.is_backbone(vit):
        raise UsageError(
            f"{config.name} is no Vision Transformer of a kind that can be a backbone",
            f"{KINDS}; others may be a trunk: --preset small --backbone {config.name}",
        )
    if not vits.has_class_token(vit):
        vit.attn_pool = None  # [Ret] takes its place
    if keep_head and getattr(vit, "global_pool", "token") != "token":
        raise UsageError(f"{config.name} classifies by the mean of its tokens, not by [Ret]", WITH_CLASSES)
    return vit


def _is_beit(name: str) -> bool:
    """Whether timm keeps `name` among the models of BEiT, which are made for one size of pictures."""
    return timm.is_model(name) and timm.models.model_entrypoint(name.split(".")[0]).__module__ == Beit.__module__


def _hybrid(config: BackboneConfig, pretrained: bool, weights: Path | None, keep_head: bool) -> VisionTransformer:
    vit = VisionTransformer(
        img_size=config.image_size,
        patch_size=16,
        num_classes=0,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        proj_drop_rate=config.dropout,
        pos_drop_rate=config.dropout,
        embed_layer=partial(HeadedTrunkEmbed if keep_head else TrunkEmbed, trunk=config.name),
    )
    if keep_head:  # at first tokens are the trunk's maps, which know more of things than few sketches can teach
        _begin_at_nothing(vit)
    vit.patch_embed.fill(pretrained, weights)  # only now: timm begins all that is inside with random values
    return vit


def _begin_at_nothing(vit: Any) -> None:
    """Blocks and embeddings of places add 0 to the tokens until they are trained."""
    nn.init.zeros_(vit.pos_embed)
    for block in vit.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class TrunkEmbed(nn.Module):
    """A convolutional trunk in the patch embedding's place: (B, 3, H, W) -> (B, P, D).

    Its stride-16 map and its stride-32 map, upsampled, lie over each other at P = H/16 * W/16 places.
    """

    def __init__(
        self,
        img_size: int,
        patch_size: int,
        embed_dim: int,
        trunk: str,
        **_: Any,
    ) -> None:
        super().__init__()
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.name, self.image_size = trunk, img_size
        self.options = find_maps(trunk, img_size, create).options()
        self.trunk = create(trunk, False, None, **self.options)
        self.proj = nn.Linear(sum(self.trunk.feature_info.channels()), embed_dim)

    def fill(self, pretrained: bool, weights: Path | None) -> None:
        """Give the trunk the weights of a file, or those that timm knows for its name; neither: leave it as it is."""
        if weights is not None:
            fill_backbone(self.trunk, self.name, weights, self.options)
        elif pretrained:
            with torch.random.fork_rng(devices=[]):
                self.trunk.load_state_dict(create(self.name, True, None, **self.options).state_dict())

    def below(self, stride: int) -> list[nn.Parameter]:
        """The parameters that make the trunk's map of this stride; UsageError where it has none."""
        names = find_below(self.name, self.image_size, create, stride)
        return [parameter for name, parameter in self.trunk.named_parameters() if name in names]

    def maps(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, P, C), both maps' channels at every place."""
        return compute_maps(self.trunk, picture, self.grid_size[0]).flatten(2).transpose(1, 2)

    def forward(self, picture: Tensor) -> Tensor:
        return self.proj(self.maps(picture))


class HeadedTrunkEmbed(TrunkEmbed):
    """A whole convolutional network in the patch embedding's place, with the head and the classifier of its training.

    Each of its two maps is taken less its mean over the training pictures of the modality, and at length 1.
    """

    def __init__(self, img_size: int, patch_size: int, embed_dim: int, trunk: str, **_: Any) -> None:
        nn.Module.__init__(self)
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.name, self.image_size = trunk, img_size
        maps = find_maps(trunk, img_size, create)
        self.options = {} if maps.image_size is None else {"img_size": maps.image_size}
        self.trunk = create(trunk, False, None, **self.options)
        self.channels = find_map_channels(self.trunk, maps, img_size)
        self.indices, self.strides = maps.indices, maps.strides
        self.map_mean = ModalityMean(sum(self.channels))
        self.proj = nn.Linear(sum(self.channels), embed_dim, bias=False)
        nn.init.orthogonal_(self.proj.weight)  # so that cosines stay nearly what they are
        if embed_dim == sum(self.channels):
            nn.init.eye_(self.proj.weight)

    def below(self, stride: int) -> list[nn.Parameter]:
        if stride not in self.strides:
            find_below(self.name, self.image_size, create, stride)  # raises UsageError
        index = len(self.strides) - 1 - self.strides[::-1].index(stride)
        with torch.enable_grad(), torch.device("meta"):
            trunk = create(self.name, False, None, **self.options).eval()
            side = self.image_size
            made = trunk.forward_intermediates(torch.zeros(1, 3, side, side), [index], intermediates_only=True)
            made[0].sum().backward()
        reached = {name for name, parameter in trunk.named_parameters() if parameter.grad is not None}
        return [parameter for name, parameter in self.trunk.named_parameters() if name in reached]

    def maps(self, picture: Tensor) -> Tensor:
        near, far = self.trunk.forward_intermediates(picture, list(self.indices), intermediates_only=True)
        laid = lay_over(to_channels_first(self.trunk, near), to_channels_first(self.trunk, far), self.grid_size[0])
        return laid.flatten(2).transpose(1, 2)

    def tokens_and_feature(self, picture: Tensor, is_sketch: bool) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W) of one modality -> patch tokens (B, P, D) and the head's features (B, F)."""
        last, maps = self.trunk.forward_intermediates(picture, list(self.indices))
        # what the losses on local matches teach the trunk costs classes and adds nothing to own photos: it stays apart
        near, far = (to_channels_first(self.trunk, x.detach()) for x in maps)
        x = lay_over(near, far, self.grid_size[0]).flatten(2).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            near, far = self.map_mean(x.float(), is_sketch).split(self.channels, -1)
            unit = torch.cat([F.normalize(near, dim=-1), F.normalize(far, dim=-1)], -1)
        return self.proj(unit.to(self.proj.weight.dtype)), self.trunk.forward_head(last, pre_logits=True)
