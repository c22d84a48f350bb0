"""Pickles are read without executing, importing or allocating anything."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.agents import pickles
from pipeline.agents.pickles import Name, Record

from .cases import CASES
from .conftest import Tripwire
from .forging import EXECUTING, MALFORMED, nest, record, short
from .making import Tiny, pickled, quickly

REALLY_EXECUTING = ("os.system", "builtins.eval", "functools.partial", "operator.attrgetter", "INST", "OBJ", "NEWOBJ")


def aimed(name: str, marker: Path) -> bytes:
    return EXECUTING[name].replace(b"MARKER", str(marker).encode())


# --- what is not executed --------------------------------------------------------------------------


@pytest.mark.parametrize("name", REALLY_EXECUTING)
def test_a_plain_unpickling_would_have_set_off_the_tripwire(name: str, tripwire: Tripwire, marker: Path) -> None:
    with tripwire.set(), pytest.MonkeyPatch.context():
        try:
            pickle.loads(aimed(name, marker))
        except (TypeError, pickle.UnpicklingError):
            assert name == "NEWOBJ"  # the one that unpickling refuses by itself
    assert marker.exists() == (name != "NEWOBJ")
    assert tripwire.events


@pytest.mark.parametrize("name", EXECUTING)
def test_code_in_a_pickle_is_refused_unexecuted(name: str, tripwire: Tripwire, marker: Path) -> None:
    attack = aimed(name, marker)
    with tripwire.set(), pytest.raises(errors.PickleRefused) as refused:
        pickles.read(attack)
    assert tripwire.events == []
    assert not marker.exists()
    assert "Nothing was executed" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("os.system", "refers to os.system, which is not on the allowed list"),
        ("a method of an allowed class", "refers to stable_baselines3.common.policies.ActorCriticPolicy.load"),
        ("cloudpickle function", "refers to cloudpickle.cloudpickle._make_function"),
        ("INST", "uses opcode INST"),
        ("PERSID", "uses opcode PERSID"),
        ("EXT1", "uses opcode EXT1"),
        ("a name that is no text", "names a global by something that is not text"),
        ("NEWOBJ_EX with keywords", "with keyword arguments"),
        ("BUILD on an allowed name", "sets the state of something that is not an object"),
        ("a call of text", "calls something that it does not name"),
    ],
)
def test_refusal_says_what_was_found(name: str, told: str) -> None:
    with pytest.raises(errors.PickleRefused, match=told.replace(".", r"\.")):
        pickles.read(EXECUTING[name])


def test_lambda_is_refused_by_the_name_of_its_maker() -> None:
    import cloudpickle

    with pytest.raises(errors.PickleRefused, match="_make_function, which is not on the allowed list"):
        pickles.read(cloudpickle.dumps({"activation_fn": lambda x: x}))


def test_allowed_calls_are_recorded_and_not_made() -> None:
    found = pickles.read(b"cnumpy\nndarray\n(I1000000000000\ntR.")
    assert found.callee == Name("numpy", "ndarray")
    assert found.args == (10**12,)


def test_the_list_holds_names_and_no_paths() -> None:
    for module, name in pickles.ALLOWED:
        assert name.isidentifier()
        assert all(part.isidentifier() for part in module.split("."))
    assert not {module.partition(".")[0] for module, _ in pickles.ALLOWED} & {"os", "posix", "sys", "subprocess"}


def test_a_list_of_ones_own_replaces_the_list() -> None:
    only = frozenset([("a.b", "C")])
    assert pickles.read(b"ca.b\nC\n.", only) == Name("a.b", "C")
    with pytest.raises(errors.PickleRefused, match=r"numpy\.dtype"):
        pickles.read(b"cnumpy\ndtype\n.", only)


# --- what does not exhaust -------------------------------------------------------------------------


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_pickle_is_refused_without_allocating(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(errors.PickleRefused) as refused:
            pickles.read(MALFORMED[name])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert "malformed" in refused.value.what or "keys" in refused.value.what


def test_nested_tuples_are_never_hashed() -> None:
    with quickly(), pytest.raises(errors.PickleRefused, match="keys are not names or numbers"):
        pickles.read(b"}" + nest(26) + b"K\x01s.")


def test_nested_tuple_as_a_name_is_never_hashed() -> None:
    with quickly(), pytest.raises(errors.PickleRefused, match="not text"):
        pickles.read(b"\x80\x04" + nest(26) + nest(26) + b"\x93.")


@pytest.mark.parametrize(
    "forged",
    [
        nest(20_000) + b".",
        b"](" + b"]2a" * 2 + b"e.",
        b"]" + b"2\x90" * 0 + b"2a.",
        b"]q\x00" + b"h\x00a" * 5000 + b".",
    ],
    ids=["twice the tuple of twice", "lists in lists", "a list in itself", "a list in itself often"],
)
def test_nests_are_read_at_once_and_let_go(forged: bytes) -> None:
    with quickly():
        held = pickles.read(forged)
        del held


def test_opcodes_are_limited() -> None:
    with pytest.raises(errors.PickleRefused, match="more than 200000 opcodes"):
        pickles.read(b"N0" * 100_001 + b"N.")
    assert pickles.read(b"N0" * 99_999 + b"N.") is None


def test_a_small_pickle_takes_little_memory() -> None:
    text = b"X" + (100_000).to_bytes(4, "little") + b"a" * 100_000 + b"q\x00" + short("latin1") + b"q\x01"
    forged = b"\x80\x04" + text + b"c_codecs\nencode\nq\x02" + b"h\x02h\x00h\x01\x86R" * 1000 + b"."
    tracemalloc.start()
    try:
        pickles.read(forged)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    except errors.PickleRefused:
        pass
    finally:
        tracemalloc.stop()


# --- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**40),
        10**30,
        1.5,
        "grüß",
        b"\x00\xff",
        (),
        (1,),
        (1, "a", None, 2.0),
        [1, [2, []]],
        {"a": {"b": (1, 2)}, 3: []},
        list(range(2000)),
        {str(i): i for i in range(2000)},
    ],
    ids=str,
)
def test_plain_values_are_read_as_pickle_reads_them(value: object, protocol: int) -> None:
    if isinstance(value, bytes) and protocol < 3:
        pytest.skip("SB3 never wrote bytes by these protocols")
    assert pickles.read(pickle.dumps(value, protocol)) == value


def test_bytes_of_python_2_protocols_are_read() -> None:
    assert pickles.read(b"c_codecs\nencode\n(X\x02\x00\x00\x00\xc3\xbfX\x06\x00\x00\x00latin1tR.") == b"\xff"


@pytest.mark.parametrize("protocol", range(2, 6))
def test_sets_are_read_as_lists(protocol: int) -> None:
    assert sorted(pickles.read(pickle.dumps({1, 2}, max(protocol, 4)))) == [1, 2]
    assert pickles.read(b"\x80\x02cbuiltins\nset\n]K\x01a\x85R.") == [1]


def test_shared_objects_stay_shared() -> None:
    inner = [1]
    first, second = pickles.read(pickle.dumps([inner, inner]))
    assert first is second


def test_an_object_is_its_name_and_its_state() -> None:
    found = pickles.read(record("gymnasium.spaces.discrete", "Discrete", {"n": 4}))
    assert isinstance(found, Record)
    assert str(found.callee) == "gymnasium.spaces.discrete.Discrete"
    assert found.state == {"n": 4}


def test_names_of_absent_packages_are_read() -> None:
    assert pickles.read(b"cgym.spaces.box\nBox\n.") == Name("gym.spaces.box", "Box")


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_field_that_is_used_is_read(case: str, made: Callable[[str], Tiny]) -> None:
    for name in ("observation_space", "action_space", "policy_class"):
        assert isinstance(pickles.read(pickled(made(case).zip, name)), Record | Name)
