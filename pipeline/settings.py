"""The tables of a config, as frozen dataclasses (standard library only): their defaults and limits stand here.

An agent is what one ``configs/*.toml`` says, :class:`pipeline.spec.Agent`; :mod:`pipeline.config` turns TOML into it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


def require(holds: bool, want: str, found: object) -> None:
    if not holds:
        raise ValueError(f"want {want}, found {found!r}")


def _require_share(name: str, value: float) -> None:
    require(math.isfinite(value) and 0 <= value <= 1, f"{name} from 0 to 1", value)


@dataclass(frozen=True)
class Environment:
    """The gymnasium environment that the agent acts in.

    :param id: gymnasium id; "" means that the config names none.
    :param kwargs: passed to ``gymnasium.make``
    :param wrappers: gymnasium wrappers as ``package.module:Class``, innermost first
    :param imports: modules that register environments when imported
    :param frame_stack: observations that SB3's VecFrameStack puts side by side; 1 is none
    :param optional: where it cannot be made, or does not fit the agent, draw observations instead of failing
    """

    id: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    frame_stack: int = 1
    optional: bool = False

    def __post_init__(self) -> None:
        require(1 <= self.frame_stack <= 64, "frame_stack from 1 to 64", self.frame_stack)
        for wrapper in self.wrappers:
            require(wrapper.count(":") == 1, "wrappers as 'package.module:Class'", wrapper)


@dataclass(frozen=True)
class Hub:
    """A commit of a Hugging Face Hub repository that holds the archive, instead of ``zip``.

    :param repo_id: "owner/name"; "" means that the agent is not on the Hub
    :param revision: all 40 digits of the commit: a branch would be another agent tomorrow
    :param vecnormalize: path of the statistics there, or "none"; "" is refused where there are some
    """

    repo_id: str = ""
    filename: str = ""
    revision: str = ""
    vecnormalize: str = ""


@dataclass(frozen=True)
class Recipe:
    """How to train the agent, when no archive is given (and how the given one was made).

    :param algorithm: name of the algorithm's class in stable_baselines3 or sb3_contrib ("" means no recipe)
    :param steps: environment steps
    :param seed: for the algorithm and the environments
    :param environments: parallel copies of the environment
    :param hyperparameters: keyword arguments of the algorithm's class
    :param normalize: keyword arguments of VecNormalize; the wrapper is used if there are any
    """

    algorithm: str = ""
    policy: str = "MlpPolicy"
    steps: int = 10_000
    seed: int = 0
    environments: int = 1
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    normalize: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.steps > 0, "steps above 0", self.steps)
        require(self.environments > 0, "environments above 0", self.environments)


@dataclass(frozen=True)
class Observations:
    """Observations that every artifact is checked on: from the agent's own rollouts, and some edges.

    :param episodes: rollouts of the deterministic policy
    :param samples: observations kept of them, spread evenly over all steps
    :param edges: further observations from the edges of the observation space
    :param seed: the first episode's; each further episode adds one
    :param file: observations of your own instead of rollouts: a ``.npz`` with an array for each input
    """

    episodes: int = 10
    samples: int = 448
    edges: int = 64
    seed: int = 1_000_000
    file: str = ""

    def __post_init__(self) -> None:
        require(self.episodes > 0, "episodes above 0", self.episodes)
        require(16 <= self.samples <= 100_000, "samples from 16 to 100000", self.samples)
        require(0 <= self.edges <= 10_000, "edges from 0 to 10000", self.edges)
        require(self.seed >= 0, "a seed of at least 0", self.seed)


@dataclass(frozen=True)
class Calibration:
    """The representative dataset of int8: rollouts of its own, none of them used by a check.

    :param file: as that of :class:`Observations`
    :param drawn: calibrate on draws from the observation space where there is neither an environment, nor statistics,
        nor a file: what the agent really sees is then unknown, and nothing is quantized unless this is set
    """

    episodes: int = 20
    samples: int = 1000
    seed: int = 2_000_000
    file: str = ""
    drawn: bool = False

    def __post_init__(self) -> None:
        require(self.episodes > 0, "episodes above 0", self.episodes)
        require(16 <= self.samples <= 100_000, "samples from 16 to 100000", self.samples)
        require(self.seed >= 0, "a seed of at least 0", self.seed)


@dataclass(frozen=True)
class Tolerance:
    """How far a full-precision artifact may be from ``predict``: ``|a - b| <= absolute + relative * |b|``."""

    absolute: float = 5e-5
    relative: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("absolute", "relative"):
            _require_share(name, getattr(self, name))
        require(self.absolute > 0, "absolute above 0", self.absolute)


@dataclass(frozen=True)
class Bound:
    """How far a float16 or int8 artifact may be from ``predict``.

    The return in closed loop judges where the config names an environment: a policy can die at a mean action
    error of a few per cent, and live with one decision in five changed where both are as good. Elsewhere the
    two bounds on single decisions do.

    :param action: mean absolute action error, as a share of each action's range (Box actions)
    :param decisions: least share of equal decisions (Discrete actions)
    :param return_kept: least ``(artifact - random policy) / (source - random policy)`` of mean returns
    :param episodes: seeded closed-loop episodes, the same for source, artifact and random policy
    :param most: episodes at most: as many as were run are added until the confidence interval of what is kept
        (95 %, bootstrap) lies on one side of the limit
    :param seed: the first episode's
    """

    action: float = 0.10
    decisions: float = 0.90
    return_kept: float = 0.95
    episodes: int = 30
    most: int = 120
    seed: int = 3_000_000

    def __post_init__(self) -> None:
        for name in ("action", "decisions", "return_kept"):
            _require_share(name, getattr(self, name))
        require(1 <= self.episodes <= 10_000, "episodes from 1 to 10000", self.episodes)
        require(1 <= self.most <= 10_000, "most from 1 to 10000", self.most)
        require(self.seed >= 0, "a seed of at least 0", self.seed)


@dataclass(frozen=True)
class Float16Bound(Bound):
    """float16 weights round to 11 significant bits, so much less is granted."""

    action: float = 0.01
    decisions: float = 0.95


RUNGS = ("int8", "int8_ranges", "int8_float_head", "int16x8", "float16")


@dataclass(frozen=True)
class Ladder(Bound):
    """Quantization: what is tried, in this order, until one keeps the return.

    :param rungs: some of :data:`RUNGS`; one alone pins it, and nothing is fallen to
    :param waiver: why an artifact that no rung's verdict passes is used all the same: that of the rung that keeps most
    """

    return_kept: float = 0.98
    episodes: int = 100  # after 30 without a failure one in ten may still be one (rule of three)
    most: int = 400
    rungs: list[str] = field(default_factory=lambda: list(RUNGS))
    waiver: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [rung for rung in RUNGS if rung in self.rungs]
        require(bool(known) and self.rungs == known, f"rungs of {', '.join(RUNGS)}, in this order", self.rungs)


@dataclass(frozen=True)
class Onnx:
    """The opset of the ONNX file that goes on to TensorFlow, and of the one for ONNX Runtime Web."""

    opset: int = 14
    web_opset: int = 26

    def __post_init__(self) -> None:
        require(self.opset == 14, "opset 14 (onnx-tf 1.10 takes no other safely)", self.opset)
        require(18 <= self.web_opset <= 26, "web_opset from 18 to 26", self.web_opset)


@dataclass(frozen=True)
class EdgeTpu:
    """How to call the Edge TPU compiler.

    :param command: the program and its leading arguments, a container call, say. It runs in the one folder that holds
        what it reads and writes; ``{folder}`` in an argument stands for that folder's path
    :param timeout: seconds
    """

    command: list[str] = field(default_factory=lambda: ["edgetpu_compiler"])
    timeout: int = 180

    def __post_init__(self) -> None:
        require(bool(self.command), "a command of at least one word", self.command)
        require(self.timeout > 0, "a timeout above 0", self.timeout)


@dataclass(frozen=True)
class Bundle:
    """What goes into the agent's release bundle besides what passed.

    :param source: the agent's own archive and statistics; without it only their digests
    :param licence: the agent's licence, as an SPDX expression or its name
    """

    source: bool = False
    licence: str = ""
