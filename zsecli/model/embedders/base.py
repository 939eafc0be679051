"""The interface of every model that turns pictures into features, and the network's implementation of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from zsecli.arrays import Pixels
from zsecli.data.embedded import Embedded
from zsecli.errors import UsageError
from zsecli.images.preprocess_rules import Modality, Preprocess
from zsecli.model.config import Precision
from zsecli.runtime.distributed import get_launch

if TYPE_CHECKING:
    from zsecli.model.network import ZSENetwork

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Embedder(Protocol):
    """A model that embeds pictures."""

    device: torch.device
    """Where it computes."""

    width: int
    """R, length of a [Ret] vector."""

    token_width: int
    """D, length of a token."""

    tokens: int
    """1 + T, number of tokens of a picture; 0 for a model without tokens."""

    n_kept: int | None
    """T, for a model whose selection drops tokens; else None."""

    preprocess: Preprocess
    """How pictures become its input."""

    about: dict[str, Any]
    """What the provenance of a store records about it."""

    def embed(self, pictures: Pixels, modality: Modality) -> Embedded:
        """Features of pictures (B, S, S, 3) uint8 of one modality."""
        ...


def resolve_device(name: str) -> torch.device:
    """The device `name`; `auto` is the GPU where there is one, and `cuda` one GPU for each process.

    Raises:
        UsageError: this machine, or this PyTorch, does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    launch = get_launch()
    if name == "cuda" and launch.world > 1:  # processes share GPUs where there are too few
        name = f"cuda:{launch.local_rank % max(1, torch.cuda.device_count())}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used: {reason}", "--device auto, cpu, or cuda:0") from error
    return device


def compute_in_full_float32() -> None:
    """Compute float32 convolutions in float32 on a GPU, for the whole process; PyTorch would use TF32."""
    torch.backends.cudnn.allow_tf32 = False


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype that networks compute in; UsageError for one that the device lacks."""
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU", "--precision bf16 is what CPUs have")
    return DTYPES[precision]


def normalise(pictures: Pixels, preprocess: Preprocess, device: torch.device) -> Tensor:
    """Pictures (B, S, S, 3) uint8 -> the network's input (B, 3, S, S) float32."""
    values = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255
    mean = values.new_tensor(preprocess.mean).view(-1, 1, 1)
    std = values.new_tensor(preprocess.std).view(-1, 1, 1)
    return (values - mean) / std


class NetworkEmbedder:
    """The whole network, which can also score what it embedded.

    Args:
        unused: names of parameters that the network's file holds but that it does not use.
    """

    def __init__(self, network: ZSENetwork, device: torch.device, unused: list[str]) -> None:
        # convolutions are fastest with channels last, as pictures are stored
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()
        self.device = device
        self.preprocess = network.config.preprocess
        backbone = network.backbone
        self.token_width = backbone.width
        self.tokens = 1 + backbone.n_kept
        self.width = backbone.width if backbone.retrieval_head is None else backbone.retrieval_head.width
        self.n_kept = None if backbone.n_kept == backbone.n_patches else backbone.n_kept
        self.about = {
            "preset": network.config.preset,
            "config": network.config.to_json(),
            "unused": unused,
            "device": str(device),
        }

    @torch.inference_mode()
    def embed(self, pictures: Pixels, modality: Modality) -> Embedded:
        encoding = self.network.encode(normalise(pictures, self.preprocess, self.device), modality)
        index = None if self.n_kept is None else encoding.index.cpu().numpy()
        tokens = encoding.tokens.float().cpu().numpy()
        return Embedded(encoding.ret.float().cpu().numpy(), tokens, index)
