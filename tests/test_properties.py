"""Whatever agent Stable-Baselines3 makes, its artifacts decide as its predict does.

A bounded set of drawn agents, always the same, in the test command; ``./doit properties`` draws others for long.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drawing
from drawing import Drawn
from families import ALGORITHMS
from pipeline import doing, steps
from pipeline.settings import Calibration, Float16Bound, Ladder, Observations
from pipeline.spec import Agent
from pipeline.steps import making, verdicts

ROUNDED = {"action": 1.0, "decisions": 0.0}  # nobody knows what rounding may do to a policy that nobody trained
# TensorFlow takes seconds an agent, and every target many.
FEW = settings(max_examples=max(1, settings.default.max_examples // 5))
TARGETS = ["all"] if settings.default.max_examples > 10 else ["tfjs", "tflite"]


@pytest.fixture(scope="module", autouse=True)
def jobs_in_this_process() -> Any:
    """Jobs of toolchains that the test toolchain holds too are done here, a process less; TensorFlow's in its own."""
    elsewhere = making.job

    def here(agent: Agent, toolchain: str, job: dict[str, Any], log: Path, beside: Any = None, **more: Any) -> None:
        if toolchain in ("torch", "device") and beside is None:
            doing.JOBS[job["do"]](json.loads(json.dumps(job, default=str)))
        else:
            elsewhere(agent, toolchain, job, log, beside, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "job", here)
        yield


def build(drawn: Drawn, targets: list[str]) -> dict[str, str]:
    """Make the agent, and do all its steps but for libtorch's.

    :return: reason for which a check was not run, by step
    :raises errors.SlipwayError: a step failed, or a check did
    """
    with tempfile.TemporaryDirectory() as name:
        archive, statistics = drawn.save(Path(name))
        agent = Agent(
            "drawn",
            "drawn.toml",
            zip=str(archive),
            vecnormalize=str(statistics or "none"),
            targets=targets,
            outputs=drawn.outputs(),
            images=drawn.images,
            observations=Observations(samples=64, edges=32),
            calibration=Calibration(samples=32, drawn=True),
            float16=Float16Bound(**ROUNDED),
            int8=Ladder(**ROUNDED),
        )
        absent = {}
        for step in steps.steps(agent, Path(name) / "artifacts"):
            if "libtorch" in step.name or "pictures" in step.name:
                continue
            step.act()
            found = verdicts.read(step.record) if step.name.endswith(":check") else None
            if found and found[0].status != "passed" and "keeps the return" not in found[0].reason:
                absent[step.name] = found[0].reason
        return absent


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.data())
def test_any_agent_decides_as_predict_without_tensorflow(algorithm: str, data: st.DataObject) -> None:
    drawn = data.draw(drawing.agents(algorithm))
    assert not build(drawn, ["onnx", "onnx_core", "torchscript", "weights"])


@FEW
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.data())
def test_any_agent_decides_as_predict_with_tensorflow(algorithm: str, data: st.DataObject) -> None:
    drawn = data.draw(drawing.agents(algorithm))
    absent = build(drawn, TARGETS)
    # TensorFlow Lite Micro has fewer operators than TensorFlow Lite: no exponential, for one.
    lacking = {name for name, reason in absent.items() if "micro" in name and reason.startswith("not supported: ")}
    assert not {name: reason for name, reason in absent.items() if "edgetpu" not in name and name not in lacking}
