"""A night's folder, the ./doit that builds in it, and how it goes on where it was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nightly.telling import a_record
from pipeline import artifacts, errors
from pipeline.nightly import command, night, summary
from running import ROOT

OF = {"variables": ["configs=/c"], "agents": []}
CLOSING = "2 steps run in 1.0 s"


def begun(place: Path, today: str = "2026-01-02", of: dict[str, list[str]] = OF) -> tuple[night.Night, list[str]]:
    said: list[str] = []
    return night.begin(place, of, today, said.append), said


def a_program(folder: Path, text: str) -> list[str]:
    path = folder / "program.py"
    path.write_text(f"import sys, time, signal\n{text}\n")
    return [sys.executable, str(path)]


def asked(into: Path, **told: object) -> command.Asked:
    given = {"names": (), "limit": "", "keep": 14, "weeks": 8, "newest": False, **told}
    return command.Asked(into, ("configs=/c",), **given)  # type: ignore[arg-type]


def test_night_is_named_by_its_date(tmp_path: Path) -> None:
    first, said = begun(tmp_path / "nights")
    assert (first.name, said) == ("2026-01-02", [])
    assert first.artifacts == tmp_path / "nights" / "2026-01-02" / "artifacts"


def test_unfinished_night_is_continued_and_a_finished_one_is_not(tmp_path: Path) -> None:
    first, _ = begun(tmp_path)
    again, said = begun(tmp_path, "2026-01-03")
    assert again == first and "continuing" in said[0]
    again.finished = True
    again.save()
    assert begun(tmp_path)[0].name == "2026-01-02.2"


def test_unfinished_night_of_other_agents_is_left(tmp_path: Path) -> None:
    begun(tmp_path)
    found, said = begun(tmp_path, of={**OF, "agents": ["one"]})
    assert found.name == "2026-01-02.2" and "other agents" in said[0]


def test_damaged_state_is_named_and_a_new_night_begun(tmp_path: Path) -> None:
    first, _ = begun(tmp_path)
    (first.folder / night.STATE).write_text("{")
    found, said = begun(tmp_path)
    assert found.name == "2026-01-02.2"
    assert said[0].startswith("NightDamaged: ") and str(first.folder) in said[0]


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        (f"print('{CLOSING}')", night.FINISHED),
        (f"print('1 failed, 3 not reached, {CLOSING}'); sys.exit(1)", night.FINISHED),
        ("print('everything is up to date')", night.FINISHED),
        ("sys.exit(1)", night.BROKEN),
        ("print('ArtifactsBusy: no'); sys.exit(2)", night.BROKEN),
        ("raise SystemError", night.BROKEN),
    ],
)
def test_end_of_doit_is_told(tmp_path: Path, text: str, ended: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert night.build(a_program(tmp_path, text), tmp_path / "log.txt", None) == ended
    assert (tmp_path / "log.txt").read_text() == capfd.readouterr().out


def test_doit_is_interrupted_at_the_limit(tmp_path: Path) -> None:
    text = "signal.signal(signal.SIGINT, signal.default_int_handler)\nprint('on', flush=True)\ntime.sleep(60)"
    begun = time.monotonic()
    assert night.build(a_program(tmp_path, text), tmp_path / "log.txt", 1.0) == night.STOPPED
    assert time.monotonic() - begun < 20
    assert "on\n" in (tmp_path / "log.txt").read_text()


def test_doit_that_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night, "PATIENCE", 0.5)
    text = "signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)"
    assert night.build(a_program(tmp_path, text), tmp_path / "log.txt", 0.5) == night.STOPPED


def test_whoever_ends_the_night_ends_its_doit(tmp_path: Path) -> None:
    inner = a_program(
        tmp_path, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))\ntime.sleep(60)"
    )
    outer = f"from pathlib import Path\nfrom pipeline.nightly import night\nnight.build({inner!r}, Path({str(tmp_path / 'log')!r}), None)"
    process = subprocess.Popen(
        [sys.executable, "-c", outer], cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(20)
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(int((tmp_path / "pid").read_text()), 0)
            time.sleep(0.05)


def test_steps_are_read_from_what_doit_said() -> None:
    said = """toolchain x is made
    8.0 s  done    one:sb3
           running: one:onnx:convert 15 s
    1.5 s  FAILED  one:onnx:convert
ConverterFailed: agent one, hop onnx:convert: no.
  more
    2.0 s  FAILED  two:sb3
AgentFileDamaged: no

     onnx
one  ✗
    1.0 s  done    two:sb3
"""
    seconds, failed = night.steps(said)
    assert seconds == {"one:sb3": 8.0, "one:onnx:convert": 1.5, "two:sb3": 1.0}
    assert failed == {"one:onnx:convert": "ConverterFailed: agent one, hop onnx:convert: no.\n  more"}


@pytest.mark.parametrize(
    ("limit", "seconds"), [("", None), ("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("0.5h", 1800)]
)
def test_limit_is_a_time(limit: str, seconds: float | None) -> None:
    assert command.seconds(limit) == seconds


@pytest.mark.parametrize("limit", ["x", "2", "h", "2 h", "-1h", "0m", "1m1h"])
def test_limit_that_is_no_time_is_refused(limit: str) -> None:
    with pytest.raises(errors.NightlyUnfit, match="such as 2h"):
        command.seconds(limit)


def test_agent_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.NightlyUnfit, match="no agent nobody"):
        command.run(asked(tmp_path, names=("nobody",)), [])


def test_nights_do_not_lie_among_the_agents(tmp_path: Path) -> None:
    wanted = command.Asked(tmp_path / "nightly", (f"folder={tmp_path}",), (), "", 14, 8, False)
    with pytest.raises(errors.NightlyUnfit, match="taken for agents"):
        command.run(wanted, [])


def test_two_nights_do_not_go_on_at_once(tmp_path: Path) -> None:
    with artifacts.lock(tmp_path), pytest.raises(errors.ArtifactsBusy, match="--into FOLDER"):
        command.run(asked(tmp_path), [])


def test_doit_that_cannot_begin_is_an_error_and_leaves_the_night_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night, "call", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(errors.NightBroken, match=r"log\.txt"):
        command.run(asked(tmp_path), [])
    (folder,) = night.nights(tmp_path)
    assert json.loads((folder / night.STATE).read_text())["finished"] is False


def finished(place: Path, name: str, of: dict[str, list[str]] = OF, **told: object) -> None:
    (place / name).mkdir()
    (place / name / night.RECORD).write_text(json.dumps({**a_record(), "night": name, "of": of, **told}))


def test_last_good_night_is_finished_has_no_failure_and_is_of_the_same_agents(tmp_path: Path) -> None:
    finished(tmp_path, "2026-01-01")
    finished(tmp_path, "2026-01-02")
    finished(tmp_path, "2026-01-03", failed={"a:b": "no"})
    finished(tmp_path, "2026-01-04", finished=False)
    finished(tmp_path, "2026-01-05", of={**OF, "agents": ["one"]})
    here = night.Night(tmp_path / "2026-01-06", OF, 0.0)
    before, against = command._before(tmp_path, here)
    assert before is not None and against == {"night": "2026-01-02", "good": True}


def test_where_no_night_was_good_the_last_that_was_finished_is_compared_with(tmp_path: Path) -> None:
    finished(tmp_path, "2026-01-01", failed={"a:b": "no"})
    finished(tmp_path, "2026-01-02", failed={"a:b": "no"})
    assert command._before(tmp_path, night.Night(tmp_path / "x", OF, 0.0))[1] == {"night": "2026-01-02", "good": False}


def test_damaged_record_is_named_set_aside_and_not_compared_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(tmp_path, "2026-01-01")
    finished(tmp_path, "2026-01-02")
    (tmp_path / "2026-01-02" / night.RECORD).write_text("{")
    assert command._before(tmp_path, night.Night(tmp_path / "x", OF, 0.0))[1]["night"] == "2026-01-01"
    assert "NightDamaged: file " in capsys.readouterr().out
    assert (tmp_path / "2026-01-02" / "record.json.damaged").is_file()


def test_exit_codes_are_not_those_of_doit_errors() -> None:
    assert 2 not in (summary.AS_BEFORE, summary.FAILED, summary.CHANGED, summary.STOPPED)
