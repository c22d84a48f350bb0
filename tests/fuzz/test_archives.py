"""Archives that are whole, and whose every value may be anything: what a build makes of them, up to the contract.

Bytes, members and pickles are mutated by :mod:`agents.test_mutations`, up to what was read.
"""

from __future__ import annotations

import copy
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents.cases import CASES
from agents.making import Tiny, members, repack, serialized
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import inspection, jobs

from .watching import VALUES, often, soon, tree

AGENTS = ("ppo_normalized", "sac_box", "dqn_elu", "ppo_grid", "a2c_gsde")
KWARGS = (
    *("net_arch", "activation_fn", "features_extractor_class", "features_extractor_kwargs", "share_features_extractor"),
    *("normalize_images", "optimizer_class", "optimizer_kwargs", "ortho_init", "use_sde", "log_std_init", "full_std"),
    *("squash_output", "n_critics", "n_quantiles", "use_expln", "lstm_hidden_size", "clip_mean", "device", "banana"),
)
FIELDS = ("use_sde", "clip_range", "cg_max_steps", "policy_kwargs", "observation_space", "action_space", "policy_class")
NUMBERS = st.one_of(st.integers(-3, 20), st.integers(-(2**62), 2**62), st.floats(width=32))
LAYERS = st.lists(st.one_of(st.integers(-1, 70), NUMBERS), max_size=5)
ARCHITECTURES = st.one_of(LAYERS, st.dictionaries(st.sampled_from(["pi", "qf", "vf", "x"]), LAYERS, max_size=3), VALUES)
CLASSES = st.sampled_from(
    [torch.nn.ReLU, torch.nn.PReLU, torch.nn.RReLU, torch.nn.Identity, torch.nn.Tanh, torch.optim.Adam]
)


@st.composite
def arguments(draw: st.DrawFn) -> Any:
    """policy_kwargs, as JSON or, where they hold classes, pickled."""
    names = draw(st.lists(st.sampled_from(KWARGS), max_size=3, unique=True))
    held = {}
    for name in names:
        held[name] = draw(st.one_of(ARCHITECTURES if name == "net_arch" else VALUES, VALUES, CLASSES))
    plain = not any(isinstance(value, type) for value in held.values())
    return held if plain else serialized(held)


@st.composite
def forged_spaces(draw: st.DrawFn) -> dict[str, Any]:
    """A space whose state says anything."""
    kind = draw(st.sampled_from(["Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict"]))
    space: Any
    if kind == "Box":
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
        dtype = draw(st.sampled_from(["float32", "float64", "uint8", "int64", "float16", "bool"]))
        space = spaces.Box(-1, 1, (3,), np.float32)
        for bound in ("low", "high"):
            with np.errstate(all="ignore"):
                setattr(
                    space, bound, np.full(shape, draw(st.floats() if "float" in dtype else st.integers(0, 255)), dtype)
                )
        space._shape, space.dtype = draw(st.sampled_from([shape, (3,), ()])), np.dtype(dtype)
    elif kind == "Discrete":
        space = spaces.Discrete(3)
        space.n, space.start = draw(NUMBERS), draw(NUMBERS)
    elif kind == "MultiDiscrete":
        space = spaces.MultiDiscrete([3])
        space.nvec = np.array(draw(st.lists(st.integers(-2, 9), max_size=4)), np.int64)
    elif kind == "MultiBinary":
        space = spaces.MultiBinary(3)
        space.n = draw(st.one_of(NUMBERS, st.tuples(NUMBERS, NUMBERS)))
    else:
        space = spaces.Dict({"a": spaces.Discrete(2)})
        space.spaces = {draw(st.text(max_size=4)): spaces.Box(-1, 1, (2,)) for _ in range(draw(st.integers(0, 3)))}
    return serialized(space)


@st.composite
def weights(draw: st.DrawFn, held: bytes) -> bytes:
    """Some tensors under other names, of other shapes and dtypes, or with other numbers."""
    state = torch.load(io.BytesIO(held), weights_only=True)
    for name in draw(st.lists(st.sampled_from(sorted(state)), min_size=1, max_size=2, unique=True)):
        tensor = state.pop(name)
        way = draw(st.integers(0, 4))
        if way == 0:
            state[draw(st.sampled_from([*state, "extra", "a/b", ""]))] = tensor
        elif way == 1:
            state[name] = tensor.reshape(-1)
        elif way == 2:
            state[name] = tensor.to(draw(st.sampled_from([torch.float64, torch.float16, torch.int32, torch.bool])))
        elif way == 3:
            state[name] = torch.full_like(tensor, draw(st.floats(width=32)))
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tiny]:
    torch.set_num_threads(1)
    return {name: CASES[name].save(tmp_path_factory.mktemp(name)) for name in AGENTS}


def read(make: Callable[[Path], Path], pkl: Path | None, asked: dict[str, Any]) -> None:
    """Read an archive as the step ``sb3`` does, and show it as ``./doit inspect`` does."""
    with tempfile.TemporaryDirectory() as place:
        path, target = make(Path(place) / "agent.zip"), Path(place) / "sb3"
        target.mkdir()
        before = tree(Path(place))
        opened = {"algorithm": "", "images": "channel-last", "trust": False, "import_allowed": []}
        settings = {"agent": "fuzzed", "zip": str(path), "vecnormalize": str(pkl or "none"), "outputs": [], **asked}
        with soon():
            try:
                jobs.read(target, {**settings, "opened": opened})
                contracts.text(contracts.load(target))
            except errors.SlipwayError as error:
                assert isinstance(error, errors.BadInput), error
                raise
        with soon():
            inspection.inspect(path)
        after = tree(Path(place))
        assert {name for name in after.keys() ^ before.keys() if not name.startswith("sb3/")} == set()


ASKED = st.fixed_dictionaries({"stochastic": st.booleans(), "frame_stack": st.sampled_from([1, 2, 64])})


@often(30, 2000)
@given(data=st.data(), name=st.sampled_from(AGENTS), asked=ASKED)
def test_archive_of_any_values_is_read_or_refused(
    agents: dict[str, Tiny], data: st.DataObject, name: str, asked: Any
) -> None:
    tiny = agents[name]
    changed = data.draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2, unique=True))
    fields = {}
    for field in changed:
        drawn = {"policy_kwargs": arguments(), "observation_space": forged_spaces(), "action_space": forged_spaces()}
        fields[field] = data.draw(st.one_of(drawn.get(field, VALUES), drawn.get(field, VALUES), VALUES))
    read(lambda path: repack(tiny.zip, path, **copy.deepcopy(fields)), tiny.pkl, asked)


@often(20, 1000)
@given(data=st.data(), name=st.sampled_from(AGENTS), asked=ASKED)
def test_archive_of_any_weights_is_read_or_refused(
    agents: dict[str, Tiny], data: st.DataObject, name: str, asked: Any
) -> None:
    tiny = agents[name]
    held = data.draw(weights(members(tiny.zip)["policy.pth"]))
    read(lambda path: repack(tiny.zip, path, {"policy.pth": held}), tiny.pkl, asked)
