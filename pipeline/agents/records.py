"""Records of :mod:`pipeline.agents.pickles` -> numpy arrays, spaces and class names, each checked first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents.pickles import Name, Record

if TYPE_CHECKING:
    import numpy as np

MAX_ELEMENTS = 1 << 28
MAX_BOUNDS = 1 << 22
SPACE = 1 << 10  # what a space within a space takes of these
_DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


def array(record: object) -> np.ndarray:
    """A numpy array or scalar from its record.

    :raises errors.PickleRefused: it is no array, of a dtype that holds objects, or its size does not fit its bytes
    """
    import numpy as np

    if isinstance(record, int | float):
        return np.asarray(record)
    if not isinstance(record, Record):
        raise errors.PickleRefused("expected an array in the pickle", found=type(record).__name__)
    raw, dtype_record, shape, order = _array_parts(record)
    dtype = np.dtype(_dtype(dtype_record))
    if len(shape) > 32 or not all(isinstance(n, int) and 0 <= n <= MAX_ELEMENTS for n in shape):
        raise errors.PickleRefused("an array in the pickle has an impossible shape")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise errors.PickleRefused(f"an array of shape {shape} and dtype {dtype} does not fit its {len(raw)} bytes")
    return np.frombuffer(bytes(raw), dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))


def _array_parts(record: Record) -> tuple[bytes, object, tuple[Any, ...], Any]:
    """Bytes, dtype record, shape and order, from any of the three ways numpy pickles."""
    name = record.callee.name
    if name == "_reconstruct" and isinstance(record.state, tuple) and len(record.state) == 5:
        _, shape, dtype, is_fortran, raw = record.state
        order = "F" if is_fortran else "C"
    elif name == "_frombuffer" and len(record.args) == 4:
        raw, dtype, shape, order = record.args
    elif name == "scalar" and len(record.args) == 2:
        (dtype, raw), shape, order = record.args, (), "C"
    else:
        raise errors.PickleRefused(f"expected an array in the pickle, found {record.callee}")
    if not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise errors.PickleRefused("an array in the pickle is malformed")
    return bytes(raw), dtype, shape, order


def _dtype(record: object) -> str:
    if not isinstance(record, Record) or record.callee != Name("numpy", "dtype") or not record.args:
        raise errors.PickleRefused("expected a dtype in the pickle")
    code = record.args[0]
    if not isinstance(code, str) or code not in _DTYPES:
        raise errors.PickleRefused(f"the pickle holds an array of dtype {plain(code)}, which is not a plain number")
    big_endian = isinstance(record.state, tuple) and len(record.state) > 1 and record.state[1] == ">"
    return (">" if big_endian else "<") + code


def plain(value: object) -> str:
    """A value for a message: quoted if it is short and plain, else its type (a forged nest has no end)."""
    return repr(value)[:60] if isinstance(value, str | int | float | None) else type(value).__name__


def space(record: object) -> dict[str, Any]:
    """A gym or gymnasium space as the contract describes it.

    :raises errors.PickleRefused: it is no space that Slipway knows, or its state is malformed
    """
    try:
        return _space(record, _Room())
    except errors.PickleRefused:
        raise
    except Exception as error:  # a forged state can break any assumption, always to one verdict
        raise errors.PickleRefused(f"a space in the pickle is malformed ({type(error).__name__})") from None


@dataclass
class _Room:
    """What is left for numbers of a space: a forged one names the same array, or the same space, over and over."""

    left: int = MAX_BOUNDS

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise errors.PickleRefused(f"a space in the pickle has more than {MAX_BOUNDS:,} bounds")


def _space(record: object, room: _Room) -> dict[str, Any]:
    if not isinstance(record, Record) or ".spaces." not in f"{record.callee}":
        raise errors.PickleRefused("expected a space in the pickle")
    state = record.state
    if isinstance(state, tuple):
        state = state[0]
    if not isinstance(state, dict):
        raise errors.PickleRefused("a space in the pickle has no state")
    room.take(SPACE)
    kind = record.callee.name
    if kind == "Box":
        shape = state.get("_shape", state.get("shape"))
        low, high = array(state["low"]), array(state["high"])
        if low.shape != shape or high.shape != shape:
            raise errors.PickleRefused(f"a Box has bounds of shape {low.shape} and {high.shape}, which is not its own")
        room.take(low.size)
        return box(low, high, _dtype(state["dtype"]).lstrip("<>"))
    if kind == "Discrete":
        return {"type": kind, "n": _whole(state["n"]), "start": _whole(state.get("start", 0))}
    if kind == "MultiDiscrete":
        nvec = array(state["nvec"]).ravel()
        room.take(nvec.size)
        return {"type": kind, "nvec": [_whole(n) for n in nvec]}
    if kind == "MultiBinary":
        n = state["n"]
        return {"type": kind, "n": [_whole(k) for k in n] if isinstance(n, tuple | list) else [_whole(n)]}
    return {"type": "Dict", "spaces": {str(key): _space(value, room) for key, value in state["spaces"].items()}}


def box(low: np.ndarray, high: np.ndarray, dtype: str) -> dict[str, Any]:
    """A Box as the contract describes it. Bounds are flat, in C order; an infinite one is "inf" or "-inf"."""
    import numpy as np

    def bounds(values: np.ndarray) -> list[Any]:
        numbers = values.ravel().astype(np.float64)
        flat = numbers.tolist()
        return flat if np.isfinite(numbers).all() else [v if math.isfinite(v) else str(v) for v in flat]

    return {
        "type": "Box",
        "shape": list(low.shape),
        "dtype": np.dtype(dtype).name,
        "low": bounds(low),
        "high": bounds(high),
    }


def _whole(value: object) -> int:
    number = int(array(value)) if isinstance(value, Record) else value
    try:
        found = int(number)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise errors.PickleRefused(f"expected a whole number in the pickle, found {type(value).__name__}") from None
    if abs(found) >= 1 << 63:
        raise errors.PickleRefused("a space in the pickle has a number beyond 64 bits")
    return found
