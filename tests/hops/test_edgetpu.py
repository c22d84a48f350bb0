"""The Edge TPU hop: real pairs of Google's compiler, and a stand-in compiler for the calls around it."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.hops import tflite_int8_to_edgetpu, tflite_structure
from running import Built

PAIRS = {
    "dense_256": (3, []),
    "bright_64x64": (6, []),
    "looming_64x64_3x3": (9, []),
    "mobilenet_v1_0.25_128_quant": (31, []),
    "deeplabv3_mnv2_dm05_pascal_quant": (64, "RESIZE_BILINEAR CONCATENATION CONV_2D CONV_2D RESIZE_BILINEAR RESIZE_BILINEAR ARG_MAX".split()),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_what_the_real_compiler_wrote_holds_to_its_source(shared: Path, name: str) -> None:
    source, compiled = ((shared / "coral" / f"{name}{end}.tflite").read_bytes() for end in ("", "_edgetpu"))
    mapped, left = PAIRS[name]
    assert tflite_structure.hold_compiled_to_source(source, compiled) == {"mapped": mapped, "left": left}


def test_uncompiled_model_is_not_taken_for_a_compiled_one(shared: Path) -> None:
    source = (shared / "coral" / "dense_256.tflite").read_bytes()
    with pytest.raises(errors.OutputsUnfit, match="Expected one edgetpu-custom-op, found 0"):
        tflite_structure.hold_compiled_to_source(source, source)


def test_compiled_model_of_another_source_is_refused(shared: Path) -> None:
    source = (shared / "coral" / "bright_64x64.tflite").read_bytes()
    compiled = (shared / "coral" / "dense_256_edgetpu.tflite").read_bytes()
    with pytest.raises(errors.OutputsUnfit, match="another shape"):
        tflite_structure.hold_compiled_to_source(source, compiled)


def stand_in(folder: Path, body: str) -> list[str]:
    """A test fixture in the place of edgetpu_compiler: it compiles nothing."""
    script = folder / "stand_in_compiler"
    script.write_text(f"#!/bin/sh\n# called as: stand_in_compiler -s -o FOLDER MODEL\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return [str(script)]


@pytest.fixture
def source(shipped_agents: Built, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_agents.artifacts / "cartpole_ppo" / "tflite_int8", tmp_path / "tflite_int8"))


def compile_with(command: list[str], source: Path, tmp_path: Path, timeout: int = 20) -> dict:
    target = tmp_path / "target"
    target.mkdir()
    contract: dict = {"files": ["policy.tflite"]}
    settings = {"edgetpu": {"command": command, "timeout": timeout}}
    tflite_int8_to_edgetpu.convert(source, target, contract, settings)
    return contract


def test_compiler_is_called_and_its_result_is_held_to_the_source(shared: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(shared / "coral" / "dense_256.tflite", source / "policy.tflite")
    compiled = shared / "coral" / "dense_256_edgetpu.tflite"
    command = stand_in(tmp_path, f'[ "$1 $2" = "-s -o" ] && cp "{compiled}" "$3/policy_edgetpu.tflite"')
    contract = compile_with(command, source, tmp_path)
    assert contract == {"files": ["policy_edgetpu.tflite"], "mapping": {"mapped": 3, "left": []}}
    assert not (tmp_path / "target" / "policy.tflite").exists()


def test_absent_compiler_is_not_run(source: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.NotRun, match="no_such_compiler not found"):
        compile_with(["no_such_compiler"], source, tmp_path)


@pytest.mark.parametrize(
    ("body", "telling"),
    [
        ("echo 'Internal compiler error. Aborting!' >&2; exit 1", "ended with 1 and wrote no model: Internal compiler error"),
        ("exit 0", "ended with 0 and wrote no model: it said nothing"),
        ("kill -SEGV $$", "ended with -11"),
    ],
)  # fmt: skip
def test_failing_compiler_is_quoted(source: Path, tmp_path: Path, body: str, telling: str) -> None:
    with pytest.raises(errors.ConverterFailed) as caught:
        compile_with(stand_in(tmp_path, body), source, tmp_path)
    assert telling in caught.value.what


def test_hanging_compiler_is_ended(source: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.ConverterFailed, match="did not end within 1 s. Raise edgetpu.timeout in the config"):
        compile_with(stand_in(tmp_path, "exec sleep 30"), source, tmp_path, timeout=1)


def test_compiler_that_only_copies_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.OutputsUnfit, match="not mapped to the Edge TPU"):
        compile_with(stand_in(tmp_path, 'cp "$4" "$3/policy_edgetpu.tflite"'), source, tmp_path)
