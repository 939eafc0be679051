"""One face for every model that turns pictures into features: the network and the baselines beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsecli.data.embedded import Embedded
from zsecli.errors import UsageError
from zsecli.images.preprocess_rules import Preprocess, Role
from zsecli.model.config import Precision
from zsecli.runtime.distributed import get_launch

if TYPE_CHECKING:
    from zsecli.model.network import ZSENetwork


class Embedder(Protocol):
    """A model that embeds pictures.

    width: R, of [Ret]. token_width: D. tokens: 1 + T, or 0 for a model without tokens. kept: T where selection drops
    tokens, else None.
    preprocess: how its pictures are made. about: what a store's provenance should say of it. device: where it computes.
    """

    device: torch.device
    width: int
    token_width: int
    tokens: int
    kept: int | None
    preprocess: Preprocess
    about: dict[str, Any]

    def embed(self, pictures: NDArray[np.uint8], role: Role) -> Embedded:
        """Pictures (B, S, S, 3) uint8 of one role -> their features."""
        ...


def resolve_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. UsageError for a device this machine or PyTorch does not have."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and (job := get_launch()).world > 1:  # a GPU of its own for each process, as far as there are
        name = f"cuda:{job.local_rank % max(1, torch.cuda.device_count())}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}", "--device auto, cpu, or cuda:0"
        ) from error
    return device


def compute_in_full_float32() -> None:
    """Let float32 mean float32 on a GPU too, for the whole process: PyTorch's convolutions would use TF32."""
    torch.backends.cudnn.allow_tf32 = False


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """What networks compute in; UsageError for what the device has not."""
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU", "--precision bf16 is what CPUs have")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def normalise(pictures: NDArray[np.uint8], preprocess: Preprocess, device: torch.device) -> Tensor:
    """Pictures (B, S, S, 3) uint8 -> the network's input (B, 3, S, S) float32."""
    values = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (values.new_tensor(v).view(-1, 1, 1) for v in (preprocess.mean, preprocess.std))
    return (values - mean) / std


class NetworkEmbedder:
    """The whole network, which also scores what it embedded. `unused`: parameters its file holds for nothing."""

    def __init__(self, network: ZSENetwork, device: torch.device, unused: list[str]) -> None:
        # the order of channels that convolutions are quickest with, a picture's own
        self.network, self.device = network.to(device).to(memory_format=torch.channels_last).eval(), device
        self.preprocess = network.config.preprocess
        backbone = network.backbone
        self.token_width, self.tokens = backbone.width, 1 + backbone.kept
        self.width = backbone.width if backbone.retrieval_head is None else backbone.retrieval_head.width
        self.kept = None if backbone.kept == backbone.places else backbone.kept
        self.about = {
            "preset": network.config.preset,
            "config": network.config.to_json(),
            "unused": unused,
            "device": str(device),
        }

    @torch.inference_mode()
    def embed(self, pictures: NDArray[np.uint8], role: Role) -> Embedded:
        out = self.network.encode(normalise(pictures, self.preprocess, self.device), role)
        index = None if self.kept is None else out.index.cpu().numpy()
        tokens = out.tokens.float().cpu().numpy()
        return Embedded(out.ret.float().cpu().numpy(), tokens, index)
