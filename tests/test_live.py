"""The view of a run on a terminal: what it draws, how it goes away, and where it is not drawn at all."""

from __future__ import annotations

import io
import json
import re
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pipeline import live, reporter, toolchains
from pipeline.hops import HOPS
from running import ROOT, in_terminal

KINDS = tuple(hop.kind for hop in HOPS)
HIDE, SHOW = "\033[?25l", "\033[?25h"


def steps(agent: str, kinds: tuple[str, ...] = KINDS) -> list[str]:
    """Names of an agent's steps, in order."""
    found = [f"{agent}:{name}" for name in ("sb3", "observations")]
    for hop in HOPS:
        if hop.kind in kinds:
            each = [f"{runtime}:{do}" for runtime in hop.runtimes for do in ("run", "check")]
            found += [f"{agent}:{hop.kind}:{name}" for name in ("convert", *each)]
    return found


def progress(agents: list[str], kinds: tuple[str, ...] = KINDS) -> live.Progress:
    """Of agents that nothing has happened to; a cell that is done shows its kind."""
    names = [name for agent in agents for name in steps(agent, kinds)]
    return live.Progress([*names, "toolchains:torch"], agents, lambda agent, row: f"✓ {row}")


def drawn(what: live.Progress, width: int, height: int) -> list[str]:
    """Lines of the picture, none of which leaves the terminal."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(live.draw(what, width, height))
    lines = captured.get().rstrip("\n").split("\n")
    assert max(map(len, lines)) <= width and len(lines) <= height
    return [line.rstrip() for line in lines]


def test_few_kinds_are_columns_that_fill_in() -> None:
    kinds = ("onnx", "torchscript", "weights")
    now = progress(["one", "two"], kinds)
    for name in steps("one", ("onnx",)):
        now.end(name)
    now.start("one:weights:convert")
    now.end("one:weights:convert")
    now.start("one:weights:weights:run")
    now.running["one:weights:weights:run"] -= 12
    _, head, one, two, count, bar = drawn(now, 100, 30)
    assert head.split() == ["sb3", *kinds]
    assert re.fullmatch(r"one  ✓ sb3 +✓ onnx +· +▸ run 12 s", one)
    assert re.fullmatch(r"two  (· +){3}·", two)
    assert count == "0 of 2 agents done"
    assert re.fullmatch(r"━+╸? +6/27 steps  0:00", bar)


def test_many_kinds_are_rows() -> None:
    agents = ["cartpole_a2c", "cartpole_ppo", "pendulum_sac"]
    lines = drawn(progress(agents), 100, 30)
    assert lines[1].split() == agents
    rungs = {hop.kind for hop in HOPS if hop.rung}
    assert [line.split()[0] for line in lines[2:-2]] == ["sb3", *(kind for kind in KINDS if kind not in rungs)]


def test_rungs_are_told_in_the_cell_of_the_ladders_end() -> None:
    now = progress(["one"])
    now.start("one:tflite_int8_ranges:litert:run")
    (line,) = [line for line in drawn(now, 100, 30) if line.startswith("tflite_quantized")]
    assert line.split(maxsplit=1)[1] == "▸ int8_ranges 0 s"
    alone = progress(["one"], ("tflite_int8_ranges",))
    assert alone.rows == ["sb3", "tflite_int8_ranges"]


def test_what_has_no_cell_is_told_beneath() -> None:
    now = progress(["one"])
    now.start("toolchains:torch")
    assert "▸ toolchains:torch 0 s" in drawn(now, 100, 30)


@pytest.mark.parametrize(("width", "height"), [(60, 24), (100, 30), (40, 10), (20, 4)])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_picture_stays_within_its_terminal(width: int, height: int, count: int) -> None:
    agents = [f"an_agent_with_a_long_name_{number}" for number in range(count)]
    now = progress(agents)
    for agent in agents[:8]:
        now.start(f"{agent}:sb3")
    for agent in agents[8:20]:
        now.end(f"{agent}:sb3", failed=True)
    now.start("toolchains:torch")
    said = drawn(now, width, height)
    assert "steps" in said[-1] or width < 30


def test_of_many_agents_those_that_run_come_first_and_those_that_are_done_are_a_count() -> None:
    agents = [f"agent_{number}" for number in range(100)]
    now = progress(agents, ("weights",))
    for agent in agents[:37]:
        for name in steps(agent, ("weights",)):
            now.end(name, failed=name in ("agent_3:sb3", "agent_5:weights:convert"))
    now.start("agent_50:sb3")
    now.start("agent_51:observations")
    lines = drawn(now, 60, 12)
    assert lines[1:6] == [
        "▸ agent_50  sb3 0 s",
        "▸ agent_51  observations 0 s",
        "✗ agent_3   sb3",
        "✗ agent_5   weights:convert",
        "37 of 100 agents done, 2 failed",
    ]
    assert re.fullmatch(r"━+╸? +185/501 steps  0:00", lines[6])
    assert len(drawn(now, 60, 8)) == 6, "what there is no room for is a count, too"
    assert "  … and 2 more" in drawn(now, 60, 8)


def test_narrow_cell_says_for_how_long_alone() -> None:
    now = progress(["cartpole_a2c", "cartpole_ppo", "pendulum_sac"])
    now.start("cartpole_ppo:tfjs:convert")
    (line,) = [line for line in drawn(now, 60, 24) if line.startswith("tfjs")]
    assert line.split() == ["tfjs", "·", "▸", "0", "s", "·"]


def view(out: io.StringIO, now: live.Progress) -> live.View:
    console = Console(file=out, width=60, height=20, force_terminal=True, color_system=None)
    return live.View(out, now, console)


def test_failure_is_written_above_and_stays_when_the_view_goes() -> None:
    out = io.StringIO()
    shown = view(out, progress(["one"], ("weights",)))
    shown.start("one:sb3")
    while "▸" not in out.getvalue():
        time.sleep(0.05)
    message = "AgentUnfit: " + "a long message [that] is :smile: not folded " * 5
    shown.end("one:sb3", "FAILED", 0.3, message)
    assert f"    0.3 s  FAILED  one:sb3\n{message}\n" in out.getvalue()
    shown.close()
    assert out.getvalue().rindex(SHOW) > out.getvalue().rindex(HIDE)
    left = out.getvalue()
    shown.start("one:observations")
    shown.close()
    time.sleep(2 * live.View.MOMENT)
    assert out.getvalue() == left, "nothing is drawn once it is away"


def test_step_that_is_over_in_a_moment_draws_nothing() -> None:
    out = io.StringIO()
    shown = view(out, progress(["one"], ("weights",)))
    shown.start("one:sb3")
    shown.end("one:sb3", "done", 0.0)
    shown.close()
    time.sleep(2 * live.View.MOMENT)
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("terminal", "variables", "wanted"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": ""}, False),
    ],
)
def test_lines_are_plain_where_they_are_asked_for(
    terminal: bool, variables: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    out: Any = SimpleNamespace(isatty=lambda: terminal)
    assert live.on_terminal(out) == wanted
    assert not live.on_terminal(object())


@pytest.fixture(scope="module")
def an_agent(tiny_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of ./doit: an agent of few steps, and nothing built of it."""
    folder = tmp_path_factory.mktemp("live")
    config = f'zip = "{tiny_zip}"\nvecnormalize = "{tiny_zip.with_suffix(".pkl")}"\ntargets = ["weights"]\n'
    (folder / "tiny.toml").write_text(config)
    return [f"configs={folder}", f"artifacts={folder}/artifacts"]


def imported(said: str) -> set[str]:
    """Top-level modules that a run had imported at its end."""
    found = re.search(r"MODULES (\[.*\])", said)
    assert found, said
    return set(json.loads(found.group(1)))


def telling(arguments: list[str]) -> list[str]:
    """The command of a run that says what it has imported."""
    program = (
        "import sys, json, atexit\n"
        "atexit.register(lambda: print('MODULES', json.dumps(sorted({m.split('.')[0] for m in sys.modules}))))\n"
        f"from doit.doit_cmd import DoitMain; sys.exit(DoitMain().run({arguments!r}))"
    )
    return [str(toolchains.home() / "host" / "bin" / "python"), "-c", program]


def test_interrupt_leaves_the_terminal_clean(an_agent: list[str]) -> None:
    run = in_terminal([str(ROOT / "doit"), *an_agent], interrupt="▸")
    assert run.code != 0
    assert run.text.rindex(HIDE) < run.text.index(SHOW) < run.text.index("steps run in")
    assert not {"▸", "━"} & set(run.text[run.text.index(SHOW) :])


def test_run_on_a_terminal_is_drawn_and_ends_with_the_table(an_agent: list[str]) -> None:
    run = in_terminal(telling(an_agent))
    assert run.code == 0, run.text
    assert re.search(r"tiny .*▸ \w+ \d+ s", run.text)
    assert "━" in run.text
    assert run.text.count(HIDE) == 1
    end = run.text[run.text.index(SHOW) :]
    assert re.search(r"^tiny  ✓ \S+$", end, re.MULTILINE)
    assert not {"▸", "━"} & set(end)
    assert "  done  " not in run.text, "what succeeded is told by the view"
    assert "rich" in imported(run.text)
    again = in_terminal(telling(an_agent))
    assert "everything is up to date" in again.text
    assert HIDE not in again.text
    assert "rich" not in imported(again.text), "nothing was to be drawn"


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminal_that_wants_plain_lines_gets_them(
    an_agent: list[str], variables: dict[str, str], tmp_path: Path
) -> None:
    run = in_terminal(telling([an_agent[0], f"artifacts={tmp_path}", "tiny:sb3"]), **variables)
    assert run.code == 0, run.text
    assert run.done == {"tiny:sb3"}
    assert "\033" not in run.text
    assert "rich" not in imported(run.text)


def test_run_elsewhere_imports_no_rich(an_agent: list[str], tmp_path: Path) -> None:
    command = telling([an_agent[0], f"artifacts={tmp_path}", "tiny:sb3"])
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "done    tiny:sb3" in done.stdout
    assert "rich" not in imported(done.stdout)


def test_failure_on_a_terminal_keeps_its_message(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    (tmp_path / "broken.toml").write_text('zip = "broken.zip"\ntargets = ["weights"]\n')
    run = in_terminal([str(ROOT / "doit"), f"configs={tmp_path}", f"artifacts={tmp_path}/artifacts"])
    assert run.code
    assert re.search(r" s  FAILED  broken:sb3$", run.text, re.MULTILINE)
    assert "broken.zip" in run.error("broken")
    assert "broken  ✗ sb3" in run.text, "and the table says so, too"


def test_what_a_step_prints_is_told_beside_its_name() -> None:
    out = io.StringIO()
    told = reporter.Reporter(out, {})
    told.agents, told.alone, told.screen = [], False, view(out, progress(["one"]))
    said = SimpleNamespace(out="toolchain libtorch is not made: no C++ compiler\n")
    task = SimpleNamespace(name="toolchains:libtorch", actions=[said], verbosity=2, meta={"agent": "toolchains"})
    told.execute_task(task)
    assert task.verbosity == reporter.CAPTURED, "it must not print into the view"
    told.add_success(task)
    told.screen.close()
    assert out.getvalue() == f"    0.0 s  done    toolchains:libtorch\n{said.out}"


def test_program_has_the_terminal_for_itself() -> None:
    out = io.StringIO()
    told = reporter.Reporter(out, {})
    told.agents, told.alone, told.screen = [], False, view(out, progress(["one"]))
    task = SimpleNamespace(name="lint", actions=[None], verbosity=2, meta={"agent": "", "step": ""})
    told.execute_task(task)
    assert (task.verbosity, told.screen.closed) == (2, True)
