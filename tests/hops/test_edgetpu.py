"""The Edge TPU hop: real pairs of Google's compiler, and a stand-in compiler for the calls around it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from forging_tflite import Net, policy

from pipeline import errors
from pipeline.hops import edgetpu_log, tflite_int8_to_edgetpu, tflite_structure

PAIRS = {
    "dense_256": (3, []),
    "bright_64x64": (6, []),
    "looming_64x64_3x3": (9, []),
    "mobilenet_v1_0.25_128_quant": (31, []),
    "deeplabv3_mnv2_dm05_pascal_quant": (64, "RESIZE_BILINEAR CONCATENATION CONV_2D CONV_2D RESIZE_BILINEAR RESIZE_BILINEAR ARG_MAX".split()),
}  # fmt: skip
STAND_IN = str(Path(__file__).with_name("stand_in_compiler.py"))
OPERATORS = ["FULLY_CONNECTED", "TANH", "FULLY_CONNECTED", "TANH", "FULLY_CONNECTED"]
ALL = "all 5 operators map, 768 B of about 8 MiB on chip"
Compiled = dict[str, Any]


def float_head() -> bytes:
    """Two layers in int8, and a third in float."""
    net = Net()
    observation = net.tensor(1, 4)
    hidden = net.dense(net.dense(observation, 4, 8), 8, 8)
    wide = net.operator("DEQUANTIZE", [hidden], [net.tensor(1, 8, dtype="FLOAT32")])
    logits = net.tensor(1, 2, dtype="FLOAT32")
    net.operator("FULLY_CONNECTED", [wide, net.weights(2, 8, dtype="FLOAT32"), -1], [logits])
    return net.content([observation], [logits])


def in_float() -> bytes:
    net = Net()
    observation, logits = (net.tensor(1, width, dtype="FLOAT32") for width in (4, 2))
    net.operator("FULLY_CONNECTED", [observation, net.weights(2, 4, dtype="FLOAT32"), -1], [logits])
    return net.content([observation], [logits])


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


def test_compiled_model_with_another_number_of_outputs_is_refused() -> None:
    net = Net()
    source = net.tensor(1, 6)
    output = net.operator("edgetpu-custom-op", [source], [net.tensor(1, 4), net.tensor(1, 4)])
    with pytest.raises(errors.OutputsUnfit, match="another number of outputs. Expected 1, found 2"):
        tflite_structure.hold_compiled_to_source(policy(), net.content([source], [output, output + 1]))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def compile_by(command: list[str], content: bytes, target: Path, timeout: float = 20) -> Compiled:
    """The contract after the hop."""
    source = target.parent / "source"
    source.mkdir()
    (source / "policy.tflite").write_bytes(content)
    contract: Compiled = {"files": ["policy.tflite"], "warnings": ["an older one"]}
    tflite_int8_to_edgetpu.convert(source, target, contract, {"edgetpu": {"command": command, "timeout": timeout}})
    return contract


def stood_in(way: str, target: Path, content: bytes = b"", **how: Any) -> Compiled:
    return compile_by([sys.executable, STAND_IN, way], content or policy(), target, **how)


def test_mapping_tells_version_operators_memory_and_prediction(target: Path) -> None:
    contract = stood_in("full", target)
    assert contract["files"] == ["policy_edgetpu.tflite", "run_policy.py", "policy_edgetpu.log"]
    assert sorted(path.name for path in target.iterdir()) == sorted(contract["files"])
    assert contract["warnings"] == ["an older one"]
    mapping = contract["mapping"]
    assert (mapping["compiler"], mapping["mapped"], mapping["left"]) == ("16.0.384591198", 5, [])
    assert mapping["memory"] == {"cached": 2560, "remaining": round(7.72 * 2**20), "streamed": 0}
    assert mapping["statuses"] == [["FULLY_CONNECTED", 3, "Mapped to Edge TPU"], ["TANH", 2, "Mapped to Edge TPU"]]
    assert mapping["predicted"]["agrees"] is True
    assert mapping["predicted"]["sentence"] == ALL


def test_compilers_log_is_kept_and_names_no_folder(target: Path) -> None:
    stood_in("full", target)
    log = (target / "policy_edgetpu.log").read_text()
    assert "Input: policy.tflite\n" in log
    assert str(target) not in log


def test_partly_mapped_model_as_predicted_has_no_warning(target: Path) -> None:
    contract = stood_in("partial", target, float_head())
    assert contract["mapping"]["mapped"] == 2
    assert contract["mapping"]["left"] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    assert contract["mapping"]["predicted"]["agrees"] is True
    assert contract["warnings"] == ["an older one"]


def test_outcome_that_was_not_predicted_is_a_warning(target: Path) -> None:
    contract = stood_in("partial", target)
    assert contract["mapping"]["left"] == ["TANH", "FULLY_CONNECTED"]
    assert contract["mapping"]["predicted"]["agrees"] is False
    left = "edgetpu_compiler 16.0.384591198 left TANH, FULLY_CONNECTED on the CPU"
    assert contract["warnings"][1:] == [f"{left}; predicted was: {ALL}"]


def test_model_too_large_for_the_chip_is_a_warning_with_figures(target: Path) -> None:
    contract = stood_in("streaming", target)
    assert contract["mapping"]["memory"]["streamed"] == round(1.22 * 2**20)
    told = "too large for the Edge TPU's memory: 6.91 MiB of parameters are kept on the chip, and 1.22 MiB streamed"
    assert contract["warnings"][1:] == [f"{told} at every inference"]


def test_compiler_without_a_version_is_a_warning(target: Path) -> None:
    contract = stood_in("unversioned", target)
    assert contract["mapping"]["compiler"] == "unknown"
    assert contract["warnings"][1:] == ["the Edge TPU compiler does not say its version"]


def test_compiler_that_hangs_at_its_version_still_compiles(target: Path) -> None:
    begun = time.monotonic()
    contract = stood_in("hang-version", target, timeout=3)
    assert contract["mapping"]["compiler"] == "16.0.384591198"  # its report says it too
    assert time.monotonic() - begun < 15


def test_compiler_without_a_log_is_taken(target: Path) -> None:
    contract = stood_in("quiet", target)
    assert contract["files"] == ["policy_edgetpu.tflite", "run_policy.py"]
    assert contract["mapping"]["statuses"] == []
    assert contract["mapping"]["mapped"] == 5


@pytest.mark.parametrize(
    ("way", "telling"),
    [
        ("crash", r"ended with -11 and wrote no model: it said nothing"),
        ("abort", r"ended with 1 and wrote no model: Internal compiler error. Aborting!"),
        ("unquantized", r"ended with 1 and wrote no model: Invalid model: policy.tflite Model not quantized"),
        ("dynamic", r"wrote no model: Compilation failed: Model failed in Tflite interpreter"),
        ("late", r"wrote no model: Compilation timeout. This is usually caused by large activations"),
        ("nothing", r"ended with 0 and wrote no model: it said nothing"),
        ("empty", r"ended with 0 and wrote no model: "),
    ],
)
def test_failing_compiler_is_quoted_beside_the_prediction(target: Path, way: str, telling: str) -> None:
    with pytest.raises(errors.ConverterFailed, match=telling) as caught:
        stood_in(way, target)
    assert caught.value.remedy == f"Read the log. Predicted: {ALL}"


@pytest.mark.parametrize(
    ("way", "telling"),
    [
        ("garbage", "What the compiler wrote cannot be read: it is not a TFLite file. Expected a TFLite file"),
        ("copy", "not mapped to the Edge TPU. Expected one edgetpu-custom-op, found 0"),
        ("two", "Expected one edgetpu-custom-op, found 2"),
        ("rescaled", r"output t\d+ has another scale. Expected \[0.5\], found \[3.0\]"),
        ("strange", r"leaves on the CPU is not what its source holds.*found CEIL \(CEIL is out of place\)"),
    ],
)
def test_compiled_file_that_does_not_hold_to_its_source_is_refused(target: Path, way: str, telling: str) -> None:
    with pytest.raises(errors.OutputsUnfit, match=telling):
        stood_in(way, target)


def test_hanging_compiler_is_ended_with_its_children(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = target.parent / "child"
    monkeypatch.setenv("STAND_IN_CHILD", str(child))
    begun = time.monotonic()
    with pytest.raises(errors.ConverterFailed, match="did not end within 4 s. Raise edgetpu.timeout in the config"):
        stood_in("hang", target, timeout=4)
    assert time.monotonic() - begun < 20
    for _ in range(50):  # whoever adopts it buries it soon
        if not alive(int(child.read_text())):
            return
        time.sleep(0.1)
    raise AssertionError("the compiler's child outlives it")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def test_absent_compiler_is_not_run_and_tells_the_prediction(target: Path) -> None:
    with pytest.raises(errors.NotRun) as caught:
        compile_by(["no_such_compiler"], policy(), target)
    assert caught.value.what == f"no_such_compiler not found; predicted: {ALL}"


def test_program_that_does_not_start_is_one_error(target: Path) -> None:
    broken = target.parent / "compiler"
    broken.write_bytes(b"\x7fELF and no more")
    broken.chmod(0o755)
    with pytest.raises(errors.ConverterFailed, match="does not start"):
        compile_by([str(broken)], policy(), target)


@pytest.mark.parametrize("way", ["unquantized", "copy"])
def test_model_of_which_nothing_maps_as_predicted_is_not_run(target: Path, way: str) -> None:
    with pytest.raises(errors.NotRun, match="Not supported: the compiler refuses it: it is not quantized to 8 bits"):
        stood_in(way, target, in_float())


def test_source_that_is_no_tflite_file_is_refused_before_the_compiler_is_called(target: Path) -> None:
    with pytest.raises(errors.TFLiteUnreadable):
        stood_in("full", target, b"no model at all")
    assert list(target.iterdir()) == []


def test_container_is_given_the_one_folder_that_it_has_to_mount(target: Path) -> None:
    """A call like ``docker run -v {folder}:/work -w /work image edgetpu_compiler``, played by a shell."""
    mounting = 'cd "$1" && shift 2 && exec "$0" "$@"'
    command = ["sh", "-c", mounting, sys.executable, "{folder}", "image", STAND_IN, "full"]
    assert compile_by(command, policy(), target)["mapping"]["mapped"] == 5


def test_report_of_an_older_compiler_is_read_from_its_log() -> None:
    said = "Edge TPU Compiler version 2.1.302470888\n\nModel compiled successfully in 5 ms.\nTotal number of operations: 3\n"
    log = "Operator                       Count      Status\n\nADD                            2          Mapped to Edge TPU\nCUSTOM                         1          Operation is working on an unsupported data type\n"
    found = edgetpu_log.read(said, log)
    assert (found.version, found.total, found.memory) == ("2.1.302470888", 3, {})
    assert found.statuses == (
        ("ADD", 2, "Mapped to Edge TPU"),
        ("CUSTOM", 1, "Operation is working on an unsupported data type"),
    )


def test_silent_compiler_is_said_to_be_silent() -> None:
    assert edgetpu_log.telling("\n \n") == "it said nothing"
    assert edgetpu_log.read("").version == "unknown"
