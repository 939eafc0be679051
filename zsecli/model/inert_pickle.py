"""Stand-ins for what training scripts save beside the weights, so that a pickle can be read without executing it.

A pickle names classes and functions to call. For each name below, `torch.load` is given a stand-in that accepts any
arguments and does nothing; the real class or function is neither looked up nor imported. So no name of the list can do
harm, whatever a file makes of it. A name that is not in the list is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch


class Inert:
    """A value beside the weights."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __new__(cls, *_: object, **__: object) -> Inert:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class InertList(list[Any]):
    """A subclass of list, which can be filled."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


class InertDict:
    """A subclass of dict: replaced by a plain one, as it may hold the weights."""

    def __new__(cls, *_: object, **__: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


_KINDS = "Bool Byte Short Int Long LongLong UByte UShort UInt ULong ULongLong Float16 Float32 Float64 LongDouble"
_DTYPES = f"{_KINDS} Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Complex64 Complex128 CLongDouble Str Bytes"
_SCALARS = (
    "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 intc uintc longlong ulonglong float16 float32 "
    "float64 longdouble complex64 complex128 str_ bytes_ datetime64 timedelta64 dtype ndarray"
)
_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
_VALUES = {
    # arrays and numbers of numpy, by its names before and since version 2
    **{f"numpy.{core}.multiarray": "scalar _reconstruct" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric": "_frombuffer" for core in ("core", "_core")},
    "numpy": _SCALARS,
    "numpy.dtypes": " ".join(f"{name}DType" for name in _DTYPES.split()),
    "numpy.random._pickle": "__generator_ctor __bit_generator_ctor __randomstate_ctor",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    # Python's own: options, paths, times, and the types that options name
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    **dict.fromkeys(("pathlib", "pathlib._local"), _PATHS),
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "functools": "partial",
    "random": "Random",
    "typing": "Any",
    "uuid": "UUID",
    # getattr: how Python pickles a method that a scheduler or a log keeps
    "builtins": "bool bytes float frozenset getattr int list object range slice str tuple",
    # of PyTorch and of what is built on it
    "torch.torch_version": "TorchVersion",
    "torch.amp.grad_scaler": "GradScaler",
    "torch.cuda.amp.grad_scaler": "GradScaler",
    "omegaconf.base": "ContainerMetadata Metadata",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode BooleanNode BytesNode EnumNode FloatNode IntegerNode PathNode StringNode",
    "mmcv.utils.config": "Config",
    "mmengine.config.config": "Config",
    "mmengine.logging.history_buffer": "HistoryBuffer",
    "wandb.sdk.wandb_config": "Config",
}
_DICTS = {
    "collections": "defaultdict",
    "builtins": "dict",
    "addict.addict": "Dict",
    "attrdict.dictionary": "AttrDict",
    "box.box": "Box",
    "detectron2.config.config": "CfgNode",
    "easydict": "EasyDict",
    "fvcore.common.config": "CfgNode",
    "lightning.fabric.utilities.data": "AttributeDict",
    "lightning_fabric.utilities.data": "AttributeDict",
    "mmcv.utils.config": "ConfigDict",
    "mmengine.config.config": "ConfigDict",
    "munch": "Munch DefaultMunch",
    "pytorch_lightning.utilities.parsing": "AttributeDict",
    "yacs.config": "CfgNode",
}
_LISTS = {"collections": "deque"}


def _optimisers() -> list[str]:
    """Names of PyTorch's optimisers and schedules, which scripts save whole."""
    modules = (torch.optim, torch.optim.lr_scheduler)
    names = []
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__.startswith("torch.optim."):
                names.append(f"{value.__module__}.{value.__qualname__}")
    return names


def stand_ins() -> list[Any]:
    """Arguments of `torch.serialization.safe_globals`: each stand-in with the name that it replaces."""
    pairs: list[tuple[type, str]] = [(Inert, name) for name in _optimisers()]
    for kind, table in ((Inert, _VALUES), (InertDict, _DICTS), (InertList, _LISTS)):
        for module, names in table.items():
            pairs += [(kind, f"{module}.{name}") for name in names.split()]
    return pairs
