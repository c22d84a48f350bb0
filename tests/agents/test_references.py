"""What pickles would import is found, however they name it, and nothing is imported."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict

import cloudpickle
import numpy as np
import pytest
import torch
from gymnasium import spaces

from pipeline.agents import pickles, references

from .conftest import Tripwire
from .forging import EXECUTING, EXHAUSTING, MALFORMED, old_tensors
from .making import quickly

UNNAMED = {"PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "BUILD on a mapping", "a call of text"}
# What is refused for its opcode or its calls, though all that it names is allowed.
ALLOWED_NAMES = {"INST of an allowed name", "OBJ of an allowed name", "NEWOBJ_EX with keywords", "BUILD on an allowed name"}  # fmt: skip
ALLOWED_NAMES |= {"a call of a call", "a call without a tuple"}


def named(content: bytes) -> list[str]:
    return [references.dotted(name) for name in references.of_pickle(content).names]


@pytest.mark.parametrize("attack", sorted(EXECUTING.keys() - UNNAMED - ALLOWED_NAMES))
def test_attack_names_something_that_is_not_allowed(attack: str, tripwire: Tripwire) -> None:
    with tripwire.set():
        scan = references.of_pickle(EXECUTING[attack])
    assert tripwire.events == []
    assert scan.refused(pickles.ALLOWED)


@pytest.mark.parametrize("protocol", range(6))
def test_honest_objects_name_what_unpickling_imports(protocol: int) -> None:
    imported = []

    class Recorder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            imported.append(f"{module}.{name}")
            return super().find_class(module, name)

    for value in (spaces.Box(-1, 1, (3,)), {"a": np.float32(1), "b": OrderedDict(c=np.ones(3))}, spaces.Discrete(4)):
        content = pickle.dumps(value, protocol)
        imported.clear()
        Recorder(io.BytesIO(content)).load()
        assert named(content) == list(dict.fromkeys(imported))
        assert not references.of_pickle(content).ended


def test_function_by_value_names_its_maker() -> None:
    assert "cloudpickle.cloudpickle._make_function" in named(cloudpickle.dumps(lambda x: x))


def test_name_from_the_memo_is_found() -> None:
    assert named(EXECUTING["parts of a name in the memo"]) == ["os.system"]
    assert named(EXECUTING["a name put together in the memo"]) == ["posix.system"]


def test_computed_name_is_a_question_mark() -> None:
    assert named(EXECUTING["a name that is no text"]) == ["?.?"]


def test_control_characters_of_a_name_are_spelled() -> None:
    assert named(EXECUTING["control characters in a name"]) == ["os\\x1b[2J\\n.system\\u202e"]


def test_code_behind_what_the_reader_refuses_is_found() -> None:
    assert named(b"}(K\x01K\x02tNs0cos\nsystem\n(S'true'\ntR.") == ["os.system"]


@pytest.mark.parametrize("name", [*EXHAUSTING, *MALFORMED])
def test_no_pickle_exhausts_the_scan(name: str, tripwire: Tripwire) -> None:
    with quickly(1), tripwire.set():
        references.of_pickle({**EXHAUSTING, **MALFORMED}[name])
    assert tripwire.events == []


def test_long_pickle_is_scanned_in_part_and_says_so() -> None:
    scan = references.of_pickle(b"cos\nsystem\n0" + b"N0" * 100_000 + b"cposix\nsystem\n.")
    assert scan.names == [("os", "system")]
    assert scan.ended == "only its first 100,000 operations were scanned"


@pytest.mark.parametrize("zipped", [True, False], ids=["zipped", "old"])
def test_tensors_name_what_rebuilds_them(zipped: bool) -> None:
    held = io.BytesIO()
    torch.save({"a": torch.ones(2)}, held, _use_new_zipfile_serialization=zipped)
    scan = references.of_tensors(held.getvalue())
    assert scan.refused(pickles.TENSORS) == []
    assert ("torch._utils", "_rebuild_tensor_v2") in scan.names
    assert not scan.ended


@pytest.mark.parametrize("place", range(5))
def test_every_pickle_of_old_tensors_is_scanned(place: int) -> None:
    assert ("os", "system") in references.of_tensors(old_tensors(EXECUTING["os.system"], place)).names


def test_every_pickle_of_a_zip_is_scanned() -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as opened:
        opened.writestr("a/data.pkl", EXECUTING["os.system"])
        opened.writestr("b/constants.pkl", EXECUTING["runpy"])
    names = references.of_tensors(held.getvalue()).names
    assert names == [("os", "system"), ("runpy", "run_path")]
