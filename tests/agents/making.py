"""Tiny agents, made with Stable-Baselines3, and archives repacked from them."""

from __future__ import annotations

import base64
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import sb3_contrib
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize

from pipeline import errors
from pipeline.agents import archive, exported
from pipeline.agents import statistics as moments
from pipeline.agents.reference import Reference

from .stubs import FLAT, LOPSIDED, Stub, sampled

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Tiny:
    """A saved agent, and what Stable-Baselines3 itself makes of it.

    :param observed: what its environment observes, frames stacked
    :param frame: of one frame
    :param images: as its users hold them
    """

    cls: type
    zip: Path
    pkl: Path | None
    observed: spaces.Space
    frame: spaces.Space
    acts: spaces.Space
    frames: int = 1
    normalizing: dict[str, Any] = field(default_factory=dict)
    images: str = "channel-last"

    def observations(self, count: int = 64, seed: int = 7) -> Any:
        """As the environment gives them: an array, or one for each key."""
        rng = np.random.default_rng(seed)
        if isinstance(self.observed, spaces.Dict):
            return {key: sampled(part, count, rng) for key, part in self.observed.spaces.items()}
        return sampled(self.observed, count, rng)

    def inputs(self, count: int = 64, seed: int = 7) -> Inputs:
        """By the names of the contract, in the environment's own dtypes and layouts."""
        rng, found, seen = np.random.default_rng(seed), {}, self.observations(count, seed)
        for entry in self.reference.parts.inputs:
            size = (count, *entry["shape"][1:])
            if entry["role"] == "observation":
                found[entry["name"]] = seen[entry["key"]] if "key" in entry else seen
            elif entry["role"] == "mask":
                found[entry["name"]] = rng.random(size) < 0.5
                found[entry["name"]][0] = False
            elif entry["role"] == "keep":
                found[entry["name"]] = (rng.random(size) < 0.7).astype(np.float32)
            else:
                found[entry["name"]] = rng.normal(size=size).astype(np.float32)
        return found

    @cached_property
    def loaded(self) -> Any:
        return self.cls.load(self.zip, device="cpu")

    def normalized(self, observation: Any) -> Any:
        """By SB3's own VecNormalize, each frame of a stack by itself."""
        if self.pkl is None:
            return observation
        normalizer = VecNormalize.load(str(self.pkl), self.plain_venv())
        if self.frames == 1:
            return normalizer.normalize_obs(observation)
        return np.concatenate(
            [normalizer.normalize_obs(frame) for frame in np.split(observation, self.frames, axis=-1)], axis=-1
        )

    def observation(self, inputs: Mapping[str, np.ndarray]) -> Any:
        """What SB3's ``predict`` takes."""
        entries = [entry for entry in self.reference.parts.inputs if entry["role"] == "observation"]
        seen = {entry.get("key", ""): inputs[entry["name"]] for entry in entries}
        return self.normalized(seen.get("", seen))

    def answer(self, inputs: Mapping[str, np.ndarray], deterministic: bool = True) -> Inputs:
        """The action and a recurrent policy's new states, as SB3 gives them."""
        observation: Any = self.observation(inputs)
        if "action_mask" in inputs:
            masks = inputs["action_mask"]
            return {"action": self.loaded.predict(observation, deterministic=deterministic, action_masks=masks)[0]}
        if "keep" not in inputs:
            return {"action": self.loaded.predict(observation, deterministic=deterministic)[0]}
        layers = range(self.loaded.policy.lstm_actor.num_layers)
        state = tuple(np.stack([inputs[f"{kind}{i}"] for i in layers]) for kind in "hc")
        starts = inputs["keep"][:, 0] == 0
        action, new = self.loaded.predict(observation, state, starts, deterministic=deterministic)
        return {"action": action, **{f"new_{kind}{i}": new[j][i] for i in layers for j, kind in enumerate("hc")}}

    def predict(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return self.answer(inputs)["action"]

    def plain_venv(self) -> DummyVecEnv:
        return DummyVecEnv([lambda: Stub(self.frame, self.acts)])

    def venv(self) -> VecEnv:
        """What the agent is made for."""
        return VecFrameStack(self.plain_venv(), self.frames) if self.frames > 1 else self.plain_venv()

    @cached_property
    def reference(self) -> Reference:
        opened = archive.read(self.zip)
        found = moments.read(self.pkl, opened.observation_space) if self.pkl else None
        return Reference(opened, found, self.images)

    def contract(self, part: str = "policy") -> dict[str, Any]:
        """Of an artifact of the policy or of its core, as far as it tells how to run it."""
        parts, opened = self.reference.parts, self.reference.archive
        return {
            "part": part,
            "algorithm": opened.algorithm,
            "takes": parts.inputs,
            "inputs": exported.inputs_of(parts, part),
            "images": self.images,
            "observation_space": opened.observation_space,
            "action_space": opened.action_space,
            **{name: getattr(parts, name) for name in ("prologue", "epilogue", "decision", "states", "distribution")},
        }


@dataclass(frozen=True)
class Case:
    """How to make a tiny agent.

    :param normalize: whether with VecNormalize, or its arguments
    :param settings: arguments of the algorithm
    :param kwargs: of the policy
    :param scale: what the first weights are multiplied by, so that decisions vary and reach the bounds
    """

    algorithm: str
    observed: spaces.Space = field(default_factory=lambda: FLAT)
    acts: spaces.Space = field(default_factory=lambda: LOPSIDED)
    normalize: bool | dict[str, Any] = False
    settings: dict[str, Any] = field(default_factory=dict)
    kwargs: dict[str, Any] = field(default_factory=dict)
    policy: str = "MlpPolicy"
    frames: int = 1
    images: str = "channel-last"
    scale: float = 3

    def save(self, folder: Path) -> Tiny:
        cls = getattr(sb3, self.algorithm, None) or getattr(sb3_contrib, self.algorithm)
        small = {"buffer_size": 10} if hasattr(cls, "_sample_action") else {}
        tiny = self._tiny(cls, folder)
        torch.manual_seed(0)
        self.observed.seed(3)
        kwargs = {"policy_kwargs": dict(self.kwargs)} if self.kwargs else {}
        agent = cls(self.policy, tiny.venv(), device="cpu", **small, **self.settings, **kwargs)
        self._vary(agent.policy)
        agent.save(tiny.zip)
        if tiny.pkl:
            statistics(tiny.plain_venv(), **tiny.normalizing).save(str(tiny.pkl))
        return tiny

    def _tiny(self, cls: type, folder: Path) -> Tiny:
        pkl = folder / "v.pkl" if self.normalize else None
        settings = self.normalize if isinstance(self.normalize, dict) else {}
        one = DummyVecEnv([lambda: Stub(self.observed, self.acts)])
        stacked = VecFrameStack(one, self.frames).observation_space if self.frames > 1 else self.observed
        path = folder / "agent.zip"
        return Tiny(cls, path, pkl, stacked, self.observed, self.acts, self.frames, settings, self.images)

    def _vary(self, policy: Any) -> None:
        """Weights that make something of every input; statistics of batch normalization that were really collected."""
        with torch.no_grad():
            for name, parameter in policy.named_parameters():
                if self.algorithm == "ARS":  # starts at 0
                    parameter.normal_(0, 0.3)
                elif name.endswith("log_std"):
                    parameter.normal_(-0.5, 0.3)
                else:
                    parameter.mul_(self.scale * (60 if name.startswith("action_net") else 1))
            for name, buffer in policy.named_buffers():
                if name.endswith("ra_mean"):
                    buffer.normal_(0, 0.5)
                elif name.endswith("ra_var"):
                    buffer.uniform_(0.3, 3)


def statistics(venv: DummyVecEnv, steps: int = 50, **settings: Any) -> VecNormalize:
    """A VecNormalize with statistics that were really collected."""
    normalizer = VecNormalize(venv, **settings)
    normalizer.seed(5)
    normalizer.reset()
    for _ in range(steps):
        normalizer.step([venv.action_space.sample()])
    return normalizer


# --- archives repacked -----------------------------------------------------------------------------


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write_zip(
    path: Path,
    content: dict[str, bytes],
    *,
    forge: Callable[[zipfile.ZipFile], None] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A zip of these members; ``forge`` edits what its directory will say."""
    with zipfile.ZipFile(path, "w", compression) as opened:
        for name, held in content.items():
            opened.writestr(name, held)
        if forge:
            forge(opened)
    return path


def repack(source: Path, target: Path, members_: dict[str, bytes] | None = None, **fields: Any) -> Path:
    """The archive with other members, and other fields in ``data`` (None takes one out)."""
    content = members(source)
    data = {**json.loads(content["data"]), **fields}
    content["data"] = json.dumps({key: value for key, value in data.items() if value is not None}).encode()
    return write_zip(target, {**content, **(members_ or {})})


def serialized(value: object) -> dict[str, str]:
    """A field as SB3 writes what JSON cannot hold; bytes are a pickle already."""
    held = value if isinstance(value, bytes) else cloudpickle.dumps(value)
    return {":type:": "anything", ":serialized:": base64.b64encode(held).decode()}


def pickled(path: Path, name: str) -> bytes:
    """The pickle of one field of ``data``."""
    return base64.b64decode(json.loads(members(path)["data"])[name][":serialized:"])


def described(space: spaces.Space) -> dict[str, Any]:
    """A space as the contract describes it."""
    kind = type(space).__name__
    if isinstance(space, spaces.Dict):
        return {"type": kind, "spaces": {key: described(part) for key, part in space.spaces.items()}}
    if isinstance(space, spaces.Discrete):
        return {"type": kind, "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": kind, "nvec": space.nvec.ravel().tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": kind, "n": list(space.shape)}
    assert isinstance(space, spaces.Box)
    bounds = {key: getattr(space, key).ravel().astype(float).tolist() for key in ("low", "high")}
    shown = {key: [v if np.isfinite(v) else str(v) for v in values] for key, values in bounds.items()}
    return {"type": kind, "shape": list(space.shape), "dtype": space.dtype.name, **shown}


@contextmanager
def quickly(seconds: float = 0.3) -> Iterator[None]:
    """What stands inside is done at once; forged nests double its time with every level."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def told(error: errors.SlipwayError) -> str:
    """What an error says, but for where; as its raiser wrote it."""
    return f"{error.what}. Expected {error.expected}, found {error.found}. {error.remedy}"
