"""``policy.pth`` read without torch: what ``torch.save`` wrote, zipped (torch 1.6 and later) or not.

torch's own loader is never given a stranger's file: it hashes forged nests, makes tensors of any size out of one
number, and its older versions, which a config's ``python`` may hold, read beyond the bytes that are there.
Formats: torch ``serialization.py`` (``_save``, ``_legacy_save``) and ``_utils.py`` (``_rebuild_tensor_v2``).
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import errors
from pipeline.agents import pickles, zips

MAX_SHARING = 8  # an extractor that actor and critic share is stored once, and named three times
MAX_DIMENSIONS = 16
_MAGIC = 0x1950A86A20F9469CFC6C
_ELEMENTS = {
    "FloatStorage": ("float32", 4),
    "DoubleStorage": ("float64", 8),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}
_SIZES = dict(_ELEMENTS.values())


@dataclass(frozen=True)
class Tensor:
    """A tensor as it lies in the file; shape, strides and offset fit the storage.

    :param dtype: torch's name of it
    :param strides: in elements
    :param offset: of the first element
    :param storage: little-endian bytes
    :param key: of the storage; tensors that share one have the same
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    storage: bytes
    key: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read(pth: bytes) -> dict[str, Tensor]:
    """The tensors by name.

    :raises SlipwayError: :class:`errors.PickleRefused`, :class:`errors.WeightsUnfit`, or what a zip is refused by
    """
    try:
        if pth.startswith(b"PK"):
            mapping, storages = _zipped(zips.members(pth, "policy.pth", zips.MAX_TENSOR_MEMBERS))
        else:
            mapping, storages = _unzipped(pth)
        if not all(isinstance(name, str) for name in mapping):
            raise TypeError
        tensors = {name: _tensor(name, record, storages) for name, record in mapping.items()}
    except errors.PickleRefused as error:
        if "the pickle is malformed" in error.what:
            raise errors.WeightsUnfit("policy.pth cannot be read as tensors") from None
        error.what = f"policy.pth: {error.what}"
        raise
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        # A forged record can break any assumption, always to one verdict.
        raise errors.WeightsUnfit("policy.pth holds something other than tensors by name") from None
    if not tensors:
        raise errors.WeightsUnfit("policy.pth holds no tensors")
    held = sum(len(content) for content in storages.values())
    if sum(tensor.elements * _SIZES[tensor.dtype] for tensor in tensors.values()) > MAX_SHARING * held:
        raise errors.WeightsUnfit("policy.pth describes far more numbers than it holds")
    return tensors


def _zipped(members: Mapping[str, bytes]) -> tuple[Any, dict[str, bytes]]:
    """The pickled mapping, and the storages by key."""
    pickled = [name for name in members if name.endswith("data.pkl")]
    if len(pickled) != 1:
        what = "policy.pth is not what torch.save writes"
        raise errors.WeightsUnfit(what, expected="one data.pkl", found=len(pickled))
    root = pickled[0].removesuffix("data.pkl")
    if members.get(f"{root}byteorder", b"little") != b"little":
        raise errors.WeightsUnfit("policy.pth was saved on a big-endian machine; not supported")
    storages = {name.removeprefix(f"{root}data/"): held for name, held in members.items() if f"{root}data/" in name}
    return pickles.read(members[pickled[0]], pickles.TENSORS), storages


def _unzipped(pth: bytes) -> tuple[Any, dict[str, bytes]]:
    """Five pickles (magic number, version, system, the mapping, keys of storages), then the storages in order."""
    file = io.BytesIO(pth)
    magic, _, _, mapping, keys = [pickles.read(file, pickles.TENSORS) for _ in range(5)]
    if magic != _MAGIC:
        raise TypeError
    sizes = {key: size for key, _, size, _ in map(_storage_of, mapping.values())}
    storages = {}
    for key in keys:
        length = int.from_bytes(file.read(8), "little") * sizes[key]
        if length > len(pth) - file.tell():
            raise errors.WeightsUnfit("policy.pth is cut short")
        storages[key] = file.read(length)
    return mapping, storages


def _storage_of(record: object) -> tuple[str, str, int, int]:
    """Key, dtype, bytes of an element and number of elements of the storage that a tensor's record names."""
    kind, element, key, _, count, *view = _made_of(record)[0].args[0]
    if kind != "storage" or not isinstance(key, str) or type(count) is not int or any(view):
        raise TypeError
    dtype, size = _ELEMENTS[element.name]
    return key, dtype, size, count


def _made_of(record: Any) -> tuple[Any, ...]:
    """Storage, offset, shape and strides, as torch rebuilds a tensor from them."""
    if record.callee.name == "_rebuild_parameter":
        record = record.args[0]
    if record.callee.name != "_rebuild_tensor_v2":
        raise TypeError
    storage, offset, shape, strides, *_ = record.args
    return storage, offset, shape, strides


def _tensor(name: str, record: object, storages: Mapping[str, bytes]) -> Tensor:
    key, dtype, size, count = _storage_of(record)
    _, offset, shape, strides = _made_of(record)
    storage = storages.get(key)
    if storage is None or len(storage) != count * size:
        found = "nothing" if storage is None else f"{len(storage):,} bytes"
        what = f"the numbers of {name} are not all there"
        raise errors.WeightsUnfit(what, expected=f"{count:,} of {dtype}", found=found)
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise TypeError
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        raise TypeError
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if not 0 < math.prod(shape) <= count or last >= count:
        raise errors.WeightsUnfit(f"{name} is not within its numbers", expected=f"1 to {count:,}", found=shape)
    return Tensor(dtype, tuple(shape), tuple(strides), offset, storage, key)
