"""Arrays and spaces from records."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest
from gymnasium import spaces

from pipeline import errors
from pipeline.agents import pickles, records
from pipeline.agents import spaces as agent_spaces

from .forging import box, nest, record
from .making import described, quickly
from .stubs import FLAT, FOUR, GRID, LOPSIDED, TABLE

ARRAYS = {
    **{code: np.arange(6).astype(code).reshape(2, 3) for code in "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split()},
    "fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(6, dtype=">f4"),
    "no dimension": np.array(3.5),
    "a scalar": np.float32(2.5),
    "a whole scalar": np.int64(-4),
    "a truth": np.bool_(True),
    "one element": np.zeros(1, np.float32),
    "a part of another": np.arange(10.0)[2:8:2],
}
SPACES = {
    "flat": FLAT,
    "table": TABLE,
    "lopsided": LOPSIDED,
    "unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float64),
    "half bounded": spaces.Box(np.array([-np.inf, 0], np.float32), np.array([1, np.inf], np.float32)),
    "image": spaces.Box(0, 255, (3, 8, 8), np.uint8),
    "whole": spaces.Box(-3, 300, (2,), np.int32),
    "discrete": FOUR,
    "discrete from 2": spaces.Discrete(3, start=2),
    "multi discrete": spaces.MultiDiscrete([3, 2]),
    "multi binary": spaces.MultiBinary(3),
    "multi binary table": spaces.MultiBinary([3, 2]),
    "dict": spaces.Dict(a=FLAT, b=spaces.Dict(c=FOUR)),
}
F4 = np.dtype("f4")
LOW = np.zeros(3, np.float32)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("name", ARRAYS)
def test_array_is_read_as_numpy_pickled_it(name: str, protocol: int) -> None:
    wanted = ARRAYS[name]
    found = records.array(pickles.read(pickle.dumps(wanted, protocol)))
    np.testing.assert_array_equal(found, wanted)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype.newbyteorder("=")


def test_old_numpy_names_its_core_otherwise() -> None:
    pickled = pickle.dumps(np.arange(3.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    np.testing.assert_array_equal(records.array(pickles.read(pickled)), np.arange(3.0))


@pytest.mark.parametrize("number", [3, 2.5, True])
def test_plain_number_is_an_array_without_dimensions(number: float) -> None:
    assert records.array(number) == number
    assert records.array(number).shape == ()


@pytest.mark.parametrize("value", [np.array([None, "x"]), np.array(["a"]), np.array([b"a"]), np.array([1j])])
def test_array_of_other_things_than_real_numbers_is_refused(value: np.ndarray) -> None:
    with pytest.raises(errors.PickleRefused, match="array in the pickle|array of dtype"):
        records.array(pickles.read(pickle.dumps(value, 2)))


def test_structured_dtype_is_refused() -> None:
    with pytest.raises(errors.PickleRefused, match="dtype 'V"):
        records.array(pickles.read(pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "i8")]), 2)))


@pytest.mark.parametrize("value", ["x", None, [1.0], {"a": 1}])
def test_what_is_no_array_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(errors.PickleRefused, match=type(value).__name__):
        records.array(value)


def test_array_whose_size_does_not_fit_its_bytes_is_refused() -> None:
    pickled = pickle.dumps(np.zeros(3, np.float32), 2).replace(b"K\x03\x85", b"K\x05\x85")
    with pytest.raises(errors.PickleRefused, match=r"shape \(5,\) and dtype float32 does not fit its 12 bytes"):
        records.array(pickles.read(pickled))


@pytest.mark.parametrize("shape", [b"J\xff\xff\xff\xff\x85", b"J\xff\xff\xff\x7f\x85", b"G\x3f\xf0\0\0\0\0\0\0\x85"])
def test_array_of_an_impossible_shape_is_refused(shape: bytes) -> None:
    pickled = pickle.dumps(np.zeros(3, np.float32), 2).replace(b"K\x03\x85", shape)
    with pytest.raises(errors.PickleRefused, match="An array in the pickle has an impossible shape"):
        records.array(pickles.read(pickled))


@pytest.mark.parametrize("name", SPACES)
def test_space_is_described_and_made_again(name: str) -> None:
    wanted = SPACES[name]
    description = records.space(pickles.read(cloudpickle.dumps(wanted)))
    assert agent_spaces.gymnasium_space(description) == wanted


@pytest.mark.parametrize("space", [FLAT, TABLE, LOPSIDED, GRID, FOUR])
def test_seeded_space_is_described_alike(space: spaces.Space) -> None:
    space.seed(3)
    space.sample()
    assert records.space(pickles.read(cloudpickle.dumps(space))) == described(space)


def test_infinite_bounds_are_words() -> None:
    description = records.space(pickles.read(cloudpickle.dumps(SPACES["half bounded"])))
    assert description["low"] == ["-inf", 0.0]
    assert description["high"] == [1.0, "inf"]


def test_space_of_old_gym_is_read() -> None:
    state = {"_shape": (3,), "low": LOW, "high": LOW + 1, "dtype": F4}
    found = records.space(pickles.read(record("gym.spaces.box", "Box", state)))
    assert found == {"type": "Box", "shape": [3], "dtype": "float32", "low": [0.0] * 3, "high": [1.0] * 3}


def test_discrete_of_old_gym_starts_at_0() -> None:
    found = records.space(pickles.read(record("gym.spaces.discrete", "Discrete", {"n": 4, "_shape": ()})))
    assert found == {"type": "Discrete", "n": 4, "start": 0}


@pytest.mark.parametrize("other", [spaces.Text(3), spaces.Tuple([FOUR]), spaces.Sequence(FOUR)])
def test_other_spaces_are_refused_by_name(other: spaces.Space) -> None:
    with pytest.raises(errors.PickleRefused, match=type(other).__name__):
        pickles.read(cloudpickle.dumps(other))


@pytest.mark.parametrize("value", [1, "Box", np.zeros(3)])
def test_what_is_no_space_is_refused(value: object) -> None:
    with pytest.raises(errors.PickleRefused, match="Expected a space"):
        records.space(pickles.read(pickle.dumps(value)))


def test_bounds_of_another_shape_than_the_box_are_refused() -> None:
    state = {"_shape": (4,), "low": LOW, "high": LOW, "dtype": F4}
    with pytest.raises(errors.PickleRefused, match=r"Box has bounds of shape \(3,\)"):
        records.space(pickles.read(box(state)))


@pytest.mark.parametrize("n", ["four", None, float("nan"), [1]])
def test_discrete_of_no_whole_number_is_refused(n: Any) -> None:
    with pytest.raises(errors.PickleRefused, match="whole number"):
        records.space(pickles.read(record("gymnasium.spaces.discrete", "Discrete", {"n": n})))


DISCRETE, DICT = ("gymnasium.spaces.discrete", "Discrete"), ("gymnasium.spaces.dict", "Dict")
HALF_FORGED = {
    "Box of no state": box({}),
    "Box of an empty tuple": box(()),
    "Box without high": box({"_shape": (3,), "low": LOW, "dtype": F4}),
    "Box without dtype": box({"_shape": (3,), "low": LOW, "high": LOW}),
    "Box of a dtype that is a list": box(
        b"}(X\x03\0\0\0lowcnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n]\x85RC\0tRu"
    ),
    "Discrete of no state": record(*DISCRETE, {}),
    "Discrete of infinity": record(*DISCRETE, {"n": float("inf")}),
    "Discrete of an array": record(*DISCRETE, {"n": np.arange(3)}),
    "MultiDiscrete of no state": record("gymnasium.spaces.multi_discrete", "MultiDiscrete", {}),
    "MultiBinary of no state": record("gymnasium.spaces.multi_binary", "MultiBinary", {}),
    "Dict of no state": record(*DICT, {}),
    "Dict of a list": record(*DICT, {"spaces": [1]}),
    "Dict in itself": b"\x80\x02cgymnasium.spaces.dict\nDict\n)\x81q\0}X\x06\0\0\0spaces}X\x01\0\0\0ah\0ssb.",
}


@pytest.mark.parametrize("name", HALF_FORGED)
def test_malformed_space_is_refused(name: str) -> None:
    with pytest.raises(errors.PickleRefused):
        records.space(pickles.read(HALF_FORGED[name]))


def test_nested_dtype_is_refused_at_once() -> None:
    scalar = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(" + nest(22) + b"tRC\x04aaaatR"
    forged = pickles.read(b"\x80\x02" + scalar + b".")
    with quickly(), pytest.raises(errors.PickleRefused, match="dtype"):
        records.array(forged)
