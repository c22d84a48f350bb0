"""The examples for cron, systemd and CI, each run as far as it can be here."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.nightly import command
from running import ROOT

EXAMPLES = ROOT / "docs" / "nightly"
CRON = [line.split(None, 5) for line in (EXAMPLES / "crontab").read_text().splitlines() if line and line[0] != "#"]
WORKFLOW: dict[Any, Any] = yaml.safe_load((EXAMPLES / "github.yml").read_text())
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["night"]["steps"]
SAID = "night 2026-01-02: all as in the night of 2026-01-01"


@pytest.fixture
def a_home(tmp_path: Path) -> Path:
    """A home with a clone whose ./doit notes how it is called, makes a page, and ends as ``ends`` says."""
    clone = tmp_path / "slipway"
    (clone / "nightly").mkdir(parents=True)
    (clone / "nightly" / "index.json").write_text('{"headline": "all passed"}')
    doit = clone / "doit"
    doit.write_text(
        f'#!/bin/sh\ncd "$(dirname "$0")"\necho "$@" >>called\necho "{SAID}"\nexit "$(cat ends 2>/dev/null || echo 0)"\n'
    )
    doit.chmod(0o755)
    return tmp_path


def called(home: Path) -> list[str]:
    return (home / "slipway" / "called").read_text().splitlines()


def are_known(words: list[str]) -> None:
    """Whether ./doit takes these words."""
    assert words[0] == "nightly"
    options = {"--newest": 0, "--limit": 1, "--keep": 1, "--weeks": 1, "--into": 1}
    rest = words[1:]
    while rest:
        count = options[rest[0]]
        if rest[0] == "--limit":
            assert command.seconds(rest[1])
        rest = rest[1 + count :]


def test_words_of_the_examples_are_those_of_the_task() -> None:
    done = subprocess.run([str(ROOT / "doit"), "help", "nightly"], capture_output=True, text=True)
    assert all(option in done.stdout for option in ("--newest", "--limit", "--keep", "--weeks", "--into"))


@pytest.mark.parametrize("line", CRON, ids=["every night", "newest"])
@pytest.mark.parametrize("ends", [0, 3])
def test_crontab_says_nothing_where_all_is_as_before(a_home: Path, line: list[str], ends: int) -> None:
    minute, hour, day, month, weekday, text = line
    assert minute.isdigit() and hour.isdigit() and (day, month) == ("*", "*") and weekday in "*0"
    assert "%" not in text  # cron makes it a line's end
    (a_home / "slipway" / "ends").write_text(str(ends))
    variables = {"HOME": str(a_home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, env=variables, cwd=a_home)
    assert done.stdout == ("" if ends == 0 else f"{SAID}\n") and done.stderr == ""
    are_known(called(a_home)[0].split())


def test_cron_itself_takes_the_table(tmp_path: Path) -> None:
    if (
        not (program := shutil.which("crontab"))
        or b"-T" not in subprocess.run([program, "-h"], capture_output=True).stderr
    ):
        pytest.skip("no crontab that can check a file (crontab -T) is here: fields and commands are tested above")
    assert subprocess.run([program, "-T", str(EXAMPLES / "crontab")]).returncode == 0


def test_systemd_verifies_service_and_timer(a_home: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    units = []
    for name in ("slipway-nightly.service", "slipway-nightly.timer"):
        units.append(a_home / name)
        units[-1].write_text((EXAMPLES / name).read_text().replace("%h", str(a_home)))
    done = subprocess.run(["systemd-analyze", "verify", *map(str, units)], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "slipway" in line]
    assert (done.returncode, ours) == (0, [])


def test_systemd_knows_when_the_timer_elapses() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    told = dict(
        line.split("=", 1) for line in (EXAMPLES / "slipway-nightly.timer").read_text().splitlines() if "=" in line
    )
    done = subprocess.run(["systemd-analyze", "calendar", told["OnCalendar"]], capture_output=True, text=True)
    assert done.returncode == 0 and "02:17:00" in done.stdout


def test_service_calls_doit_as_it_can_be_called(a_home: Path) -> None:
    told = dict(
        line.split("=", 1)
        for line in (EXAMPLES / "slipway-nightly.service").read_text().splitlines()
        if "=" in line and line[0] != "#"
    )
    call = shlex.split(told["ExecStart"].replace("%h", str(a_home)))
    assert (
        subprocess.run(call, capture_output=True, cwd=told["WorkingDirectory"].replace("%h", str(a_home))).returncode
        == 0
    )
    are_known(called(a_home)[0].split())
    assert told["SuccessExitStatus"] == "3 4"


def test_workflow_has_what_a_workflow_needs() -> None:
    assert {"name", True, "permissions", "jobs"} <= WORKFLOW.keys()  # `on` is a truth value in YAML 1.1
    assert WORKFLOW[True]["schedule"][0]["cron"].count(" ") == 4
    assert all(("uses" in step) != ("run" in step) for step in STEPS)
    assert [step["id"] for step in STEPS if "id" in step] == ["night"]
    kept = [step["with"]["path"] for step in STEPS if "cache/" in step.get("uses", "")]
    assert kept == ["nightly", "nightly"]


@pytest.mark.parametrize(
    ("ends", "code", "said"), [(0, 0, ""), (3, 0, "::warning::"), (4, 0, "::warning::"), (1, 1, ""), (2, 2, "")]
)
def test_scripts_of_the_workflow_run(a_home: Path, ends: int, code: int, said: str) -> None:
    clone, told = a_home / "slipway", a_home / "told"
    (clone / "ends").write_text(str(ends))
    variables = {**os.environ, "GITHUB_OUTPUT": str(told), "GITHUB_STEP_SUMMARY": str(a_home / "summary")}
    for step in (step for step in STEPS if "run" in step):
        for name, value in step.get("env", {}).items():
            assert value == "${{ steps.night.outputs.code }}"
            variables[name] = dict(line.split("=") for line in told.read_text().splitlines())["code"]
        call = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]  # as GitHub calls it
        done = subprocess.run(call, capture_output=True, text=True, cwd=clone, env=variables)
    assert (done.returncode, done.stdout.startswith(said) if said else done.stdout) == (code, True if said else "")
    assert (a_home / "summary").read_text() == "all passed\n"
    are_known(called(a_home)[0].split())
