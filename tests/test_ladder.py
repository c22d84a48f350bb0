"""The ladder of quantization: which rung is made, which one is handed on, and what happens where none keeps enough."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import errors
from pipeline.hops import BY_KIND
from pipeline.settings import RUNGS, Ladder
from pipeline.spec import Agent, Verdict
from pipeline.steps import ladder, verdicts
from running import Built, Run, doit

END = BY_KIND["tflite_quantized"]
KINDS = END.rungs


def agent(**limits: Any) -> Agent:
    return Agent("tiny", "tiny.toml", int8=Ladder(**limits))


def judge(home: Path, kind: str, status: Any, kept: float = 0.5, settled: bool = True) -> None:
    """Store what a check found of a rung."""
    folder = home / kind / "litert"
    folder.mkdir(parents=True, exist_ok=True)
    found = Verdict(status, f"{kind} said so", {"closed_loop": {"kept": kept, "settled": settled}})
    verdicts.write(folder / verdicts.FILE, found, {})


def test_rungs_are_in_the_order_of_the_chain() -> None:
    assert tuple(hop.rung for hop in ladder.RUNG_HOPS) == RUNGS
    assert tuple(hop.kind for hop in ladder.RUNG_HOPS) == KINDS


def test_rung_is_made_only_after_all_before_it_failed(tmp_path: Path) -> None:
    assert [ladder.unneeded(agent(), tmp_path, hop) for hop in ladder.RUNG_HOPS] == [""] * 5
    judge(tmp_path, "tflite_int8", "failed")
    judge(tmp_path, "tflite_int8_ranges", "passed")
    reasons = [ladder.unneeded(agent(), tmp_path, hop) for hop in ladder.RUNG_HOPS]
    assert reasons == ["", "", *["tflite_int8_ranges keeps the return"] * 3]
    assert [ladder.before(hop) for hop in ladder.RUNG_HOPS[:2]] == [(), ("tflite_int8:litert:check",)]


def test_further_calibration_is_made_where_a_rung_needs_it(tmp_path: Path) -> None:
    assert ladder.more_unneeded(agent(), tmp_path) == ""
    assert "leaves" in ladder.more_unneeded(agent(rungs=["int8", "float16"]), tmp_path)
    judge(tmp_path, "tflite_int8", "passed")
    assert ladder.more_unneeded(agent(), tmp_path) == "tflite_int8 keeps the return"


def test_config_pins_a_rung_or_forbids_falling(tmp_path: Path) -> None:
    pinned = agent(rungs=["int16x8"])
    reasons = {hop.rung: ladder.unneeded(pinned, tmp_path, hop) for hop in ladder.RUNG_HOPS}
    assert [rung for rung, reason in reasons.items() if not reason] == ["int16x8"]
    judge(tmp_path, "tflite_int8", "passed")  # of an earlier run
    judge(tmp_path, "tflite_int16x8", "passed")
    assert ladder.chosen(pinned, tmp_path, END) == ("tflite_int16x8", False)
    assert ladder.unneeded(pinned, tmp_path, BY_KIND["tflite_int16x8"]) == ""


@pytest.mark.parametrize("rungs", [[], ["int4"], ["int16x8", "int8"], ["int8", "int8"]])
def test_rungs_are_known_and_in_order(rungs: list[str]) -> None:
    with pytest.raises(ValueError, match="rungs of int8, int8_ranges"):
        Ladder(rungs=rungs)


def test_first_that_passed_is_handed_on(tmp_path: Path) -> None:
    for kind, status in zip(KINDS, ("failed", "passed", "passed"), strict=False):
        judge(tmp_path, kind, status)
    assert ladder.chosen(agent(), tmp_path, END) == ("tflite_int8_ranges", False)


def test_what_its_episodes_did_not_settle_is_handed_on_where_nothing_is_certain(tmp_path: Path) -> None:
    for kind, settled in zip(KINDS[:3], (False, False, True), strict=True):
        judge(tmp_path, kind, "passed", 0.985, settled)
        assert ladder.chosen(agent(), tmp_path, END)[0] == (kind if settled else KINDS[0])
    assert [ladder.unneeded(agent(), tmp_path, hop) for hop in ladder.RUNG_HOPS][2:4] == [
        "",
        f"{KINDS[2]} keeps the return",
    ]


def test_nothing_is_handed_on_where_none_passed(tmp_path: Path) -> None:
    for kind in KINDS:
        judge(tmp_path, kind, "failed")
    with pytest.raises(errors.CheckFailed) as refused:
        ladder.chosen(agent(), tmp_path, END)
    said = str(refused.value)
    assert "no rung of the ladder keeps the return" in said.lower()
    assert all(f"{kind} said so" in said for kind in KINDS)
    assert 'int8.waiver = "the reason"' in said


def test_waiver_takes_the_rung_that_keeps_most(tmp_path: Path) -> None:
    for kind, kept in zip(KINDS, (0.5, 0.9, 0.7, 0.6, 0.8), strict=True):
        judge(tmp_path, kind, "failed", kept)
    assert ladder.chosen(agent(waiver="it is a demo"), tmp_path, END) == ("tflite_int8_ranges", True)
    judge(tmp_path, KINDS[3], "passed", 0.99)
    assert ladder.chosen(agent(waiver="it is a demo"), tmp_path, END) == (KINDS[3], False)


def test_what_could_not_be_made_is_not_run(tmp_path: Path) -> None:
    for kind in KINDS:
        judge(tmp_path, kind, "not_run")
    with pytest.raises(errors.NotRun, match="tflite_int8 said so"):
        ladder.chosen(agent(), tmp_path, END)


# --- an untrained agent down the ladder -------------------------------------------------------------


@pytest.fixture
def down(tiny_agents: Built, tmp_path: Path) -> Any:
    """Builds a tiny Box agent again with other limits of its quantization."""
    shutil.copytree(tiny_agents.artifacts / "tqc", tmp_path / "artifacts" / "tqc")
    config = next(tiny_agents.configs.glob("tqc.toml")).read_text()
    before = config.partition("[int8]")[0].replace('zip = "', f'zip = "{tiny_agents.configs}/', 1)
    if "targets" not in before:
        before = 'targets = ["tflite_quantized"]\n' + before
    (tmp_path / "configs").mkdir()

    def build(limits: str) -> Run:
        (tmp_path / "configs" / "tqc.toml").write_text(f"{before}[int8]\n{limits}\n")
        return doit(configs=tmp_path / "configs", artifacts=tmp_path / "artifacts")

    build.home = tmp_path / "artifacts" / "tqc"  # type: ignore[attr-defined]
    return build


def verdict(home: Path, kind: str) -> dict[str, Any]:
    return json.loads((home / kind / "litert" / "verdict.json").read_text())


def test_int8_that_fails_falls_to_what_passes_and_nothing_fails(down: Any) -> None:
    errors_of = {}
    for rung in ("int8", "int16x8"):
        assert down(f'action = 1.0\nrungs = ["{rung}"]').code == 0
        errors_of[rung] = verdict(down.home, "tflite_quantized")["figures"]["action_error"]
    assert errors_of["int16x8"] < errors_of["int8"] / 2
    limit = errors_of["int16x8"] * 1.01
    run = down(f'action = {limit}\nrungs = ["int8", "int16x8"]')
    assert run.code == 0, run.text
    assert verdict(down.home, "tflite_int8")["status"] == "failed"
    found = json.loads((down.home / "tflite_quantized" / "policy.json").read_text())
    assert (found["kind"], found["rung"]) == ("tflite_quantized", "int16x8")
    assert "int16x8" in next(line for line in run.text.splitlines() if line.startswith("tqc "))
    (fallen,) = [line for line in run.text.splitlines() if line.startswith("↓ tqc: tflite_int8 failed: ")]
    assert "of the action range" in fallen
    assert "the error enters at layer" in fallen
    assert not doit(configs=down.home.parents[1] / "configs", artifacts=down.home.parent).done, "it is up to date"
    back = down('action = 1.0\nrungs = ["int8", "int16x8"]')
    assert back.code == 0
    assert json.loads((down.home / "tflite_quantized" / "policy.json").read_text())["rung"] == "int8"
    told = {name.split(":")[1] for name in back.done}
    assert "tflite_quantized" in told and not {"tflite_int16x8", "calibration_more"} & told, "no line tells of no work"
    assert not (down.home / "tflite_int16x8" / "policy.tflite").exists(), "what is not needed is not kept"


def test_ladder_without_an_end_fails_unless_it_is_waived(down: Any) -> None:
    run = down("action = 0.0")
    assert run.code != 0
    assert "no rung of the ladder keeps the return" in run.error("tqc").lower()
    assert all(f"{kind}: mean action error is" in run.error("tqc") for kind in KINDS)
    run = down('action = 0.0\nwaiver = "shown at a fair, moves nothing"')
    assert run.code == 0, run.text
    assert "! ±" in next(line for line in run.text.splitlines() if line.startswith("tqc "))
    contract = json.loads((down.home / "tflite_quantized" / "policy.json").read_text())
    assert contract["waiver"]["reason"] == "shown at a fair, moves nothing"
    assert verdict(down.home, "tflite_quantized")["status"] == "waived"


def test_rung_alone_is_judged_as_any_kind(down: Any) -> None:
    config = down.home.parents[1] / "configs" / "tqc.toml"
    down("action = 1.0")
    config.write_text(config.read_text().replace("tflite_quantized", "tflite_int8").replace("1.0", "0.0"))
    run = doit(configs=config.parent, artifacts=down.home.parent)
    assert run.code != 0
    assert "hop tflite_int8:litert:check" in run.error("tqc")


def test_agent_has_the_ladder_by_default() -> None:
    assert dataclasses.asdict(Agent("a", "a.toml").int8)["rungs"] == list(RUNGS)
