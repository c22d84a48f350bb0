"""The nouns of the pipeline, as frozen dataclasses (standard library only).

An :class:`Agent` is what one ``configs/*.toml`` says; its tables, with defaults and limits, are
:mod:`pipeline.settings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.settings import (
    Bound,
    Bundle,
    Calibration,
    EdgeTpu,
    Environment,
    Float16Bound,
    Hub,
    Ladder,
    Observations,
    Onnx,
    Recipe,
    Tolerance,
    require,
)


@dataclass(frozen=True)
class Agent:
    """One trained agent and what to make of it: one ``configs/NAME.toml``.

    :param name: the config's file name without ``.toml``
    :param config: path of the config, for messages
    :param zip: path of SB3's archive; "" means that it comes from the Hub, or that the recipe makes it
    :param vecnormalize: path of VecNormalize's statistics, or "none"
    :param algorithm: what the archive should hold; "" leaves it to the archive
    :param targets: kinds to build, with all that they are made from; ["all"] is every kind that need not be asked for
    :param outputs: further outputs, e.g. "value", "log_std"
    :param stochastic: give the distribution's parameters as outputs and check the contract's sampler against
        ``predict(deterministic=False)``
    :param images: how users hold images: "channel-last" (height, width, channels), or "channel-first" as SB3 inside
    :param trust: open the archive with SB3's own loader, which runs whatever code its pickles hold
    :param import_allowed: installed classes that the archive may refer to, as ``package.module:Class``
    :param import_from: folders with Python code of your own (environments, wrappers, features extractors)
    :param python: interpreter for everything that needs torch; "" is Slipway's own toolchain
    :param timeout: seconds that any one job may take
    """

    name: str
    config: str
    zip: str = ""
    vecnormalize: str = "none"
    algorithm: str = ""
    python: str = ""
    timeout: int = 900
    targets: list[str] = field(default_factory=lambda: ["all"])
    outputs: list[str] = field(default_factory=list)
    stochastic: bool = False
    images: Literal["channel-last", "channel-first"] = "channel-last"
    trust: bool = False
    import_allowed: list[str] = field(default_factory=list)
    import_from: list[str] = field(default_factory=list)
    hub: Hub = field(default_factory=Hub)
    environment: Environment = field(default_factory=Environment)
    recipe: Recipe = field(default_factory=Recipe)
    observations: Observations = field(default_factory=Observations)
    calibration: Calibration = field(default_factory=Calibration)
    tolerance: Tolerance = field(default_factory=Tolerance)
    onnx: Onnx = field(default_factory=Onnx)
    float16: Float16Bound = field(default_factory=Float16Bound)
    int8: Ladder = field(default_factory=Ladder)
    edgetpu: EdgeTpu = field(default_factory=EdgeTpu)
    bundle: Bundle = field(default_factory=Bundle)

    def __post_init__(self) -> None:
        require(self.timeout > 0, "a timeout above 0", self.timeout)
        for path in self.import_allowed:
            require(path.count(":") == 1, "import_allowed as 'package.module:Class'", path)

    def limits(self, precision: str) -> Tolerance | Bound:
        """What a check of artifacts of a precision grants."""
        limits: dict[str, Tolerance | Bound] = {"float": self.tolerance, "float16": self.float16, "int8": self.int8}
        return limits[precision]


@dataclass(frozen=True)
class Runtime:
    """Something that runs an artifact on observations: one file of ``pipeline/runtimes``.

    :param name: module of ``pipeline.runtimes``
    :param toolchain: where its Python side runs
    :param needs: further toolchains whose folder it is given
    """

    name: str
    toolchain: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hop:
    """An edge between two kinds of artifact, done by one tool in one toolchain.

    :param source: kind it starts from
    :param kind: kind it makes
    :param module: module of ``pipeline.hops`` with ``convert(source, target, settings)``
    :param toolchain: where ``convert`` runs
    :param runtimes: names of the runtimes that the check runs the artifact in
    :param precision: whose limits the check applies: "float", "float16" or "int8"
    :param settings: constants given to ``convert``
    :param reads: settings of the agent given to ``convert`` besides: their name there -> dotted name in the config
    :param inputs: further artifacts whose folders are given to ``convert``
    :param rung: its name in :data:`pipeline.settings.RUNGS`, where it is one of the ladder's
    :param rungs: kinds that it chooses from instead of converting, in the ladder's order
    :param acts_as: ``KIND/RUNTIME`` of the same network: where its answers are equal, it need not act again
    :param asked: made only where the config's targets name it
    :param program: setting that names an external program; whether it is found decides if the hop can run
    :param says: one line for ``./doit list``
    """

    source: str
    kind: str
    module: str
    toolchain: str
    runtimes: tuple[str, ...]
    says: str
    precision: Literal["float", "float16", "int8"] = "float"
    settings: dict[str, Any] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    rung: str = ""
    rungs: tuple[str, ...] = ()
    acts_as: str = ""
    asked: bool = False
    program: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    :param status: "passed", "failed", "not_run", or "waived": failed, and used all the same by the config's waiver
    :param reason: why it failed or could not run; "" when it passed
    :param figures: what was measured, by name, JSON-ready
    """

    status: Literal["passed", "failed", "not_run", "waived"]
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
