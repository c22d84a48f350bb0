"""What the Edge TPU compiler will make of a file: held to what the real one made, and to graphs made by hand."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flatbuffers import encode, number_types, table
from forging_tflite import Net, packed, policy

from pipeline import errors, toolchains
from pipeline.hops import edgetpu_lint, edgetpu_memory, edgetpu_rules, tflite_graph, tflite_structure
from pipeline.hops.edgetpu_lint import Prediction, predict
from running import ROOT, Built

PAIRS = (
    "dense_256", "bright_64x64", "looming_64x64_3x3", "mobilenet_v1_0.25_128_quant", "deeplabv3_mnv2_dm05_pascal_quant",
)  # fmt: skip
FLOAT = {"dtype": "FLOAT32"}


def pair(shared: Path, name: str) -> tuple[bytes, bytes]:
    """A model, and what the real compiler made of it."""
    source, compiled = ((shared / "coral" / f"{name}{end}.tflite").read_bytes() for end in ("", "_edgetpu"))
    return source, compiled


@pytest.mark.parametrize("name", PAIRS)
def test_prediction_is_what_the_real_compiler_did(shared: Path, name: str) -> None:
    source, compiled = pair(shared, name)
    prediction = predict(source)
    assert {"mapped": prediction.mapped, "left": prediction.left} == tflite_structure.hold_compiled_to_source(
        source, compiled
    )


def cached_parameters(compiled: bytes) -> int:
    """Bytes that the compiled program loads into the chip's memory: ``parameters`` of its PARAMETER_CACHING executable
    (field 6; libedgetpu, executable/executable.fbs)."""
    start = compiled.index(b"DWN1") - 4

    def root(buffer: bytes) -> Any:
        return table.Table(buffer, encode.Get(number_types.UOffsetTFlags.packer_type, buffer, 0))

    def vector(of: Any, field: int) -> tuple[int, int]:
        place = of.Offset(4 + 2 * field)
        return (of.Vector(place), of.VectorLen(place)) if place else (0, 0)

    package = compiled[start:]
    begin, length = vector(root(package), 1)
    several = package[begin : begin + length]
    begin, count = vector(root(several), 0)
    most = 0
    for number in range(count):
        place = begin + 4 * number
        place += encode.Get(number_types.UOffsetTFlags.packer_type, several, place)
        length = encode.Get(number_types.UOffsetTFlags.packer_type, several, place)
        most = max(most, vector(root(several[place + 4 : place + 4 + length]), 6)[1])
    return most


@pytest.mark.parametrize("name", PAIRS)
def test_parameter_memory_is_what_the_real_compiler_laid_out(shared: Path, name: str) -> None:
    source, compiled = pair(shared, name)
    measured = cached_parameters(compiled)
    assert measured > 0
    assert predict(source).memory.parameters == pytest.approx(measured, rel=0.002, abs=200)


def test_parallel_branch_behind_the_first_cpu_operator_maps(shared: Path) -> None:
    found = {f.number: f for f in predict(pair(shared, PAIRS[-1])[0]).operators}
    assert (found[64].operator, found[64].maps) == ("RESIZE_BILINEAR", False)
    assert (found[65].operator, found[65].maps) == ("CONV_2D", True)
    assert found[66].reason == "supported, but stranded behind 64 RESIZE_BILINEAR"


@pytest.mark.parametrize("name", PAIRS)
def test_compiled_file_is_told_from_a_source(shared: Path, name: str) -> None:
    source, compiled = pair(shared, name)
    assert predict(compiled).outcome == "compiled"
    assert predict(compiled).left == predict(source).left


def test_every_shipped_core_maps(shipped_agents: Built) -> None:
    _hold_cores(shipped_agents)


def test_every_core_of_every_family_maps(tiny_agents: Built) -> None:
    _hold_cores(tiny_agents)


def _hold_cores(built: Built) -> None:
    found = {path.parts[-3]: predict(path.read_bytes()) for path in built.artifacts.glob("*/tflite_int8/policy.tflite")}
    assert found
    assert {name: p.sentence for name, p in found.items() if p.outcome != "all"} == {}


def one(prediction: Prediction) -> str:
    """The reason of the one operator."""
    (finding,) = prediction.operators
    return finding.reason


def test_policy_of_dense_layers_maps() -> None:
    prediction = predict(policy())
    assert prediction.outcome == "all"
    assert prediction.sentence == "all 5 operators map, 768 B of about 8 MiB on chip"


def alone(name: str, *shapes: Any, **options: Any) -> Callable[[Net], tuple[list[int], list[int]]]:
    """A graph of one operator: its first shape is the data's, its last the result's; what is between is a constant."""

    def build(net: Net) -> tuple[list[int], list[int]]:
        source, *between, result = [
            net.integers(*shape)
            if isinstance(shape, list)
            else net.tensor(*shape)
            if n in (0, len(shapes) - 1)
            else net.weights(*shape)
            for n, shape in enumerate(shapes)
        ]
        inputs = [*between, source] if name == "SPLIT" else [source, *between]
        net.operator(name, inputs, [result], **options)
        return [source], [result]

    return build


CONV, FC, CONCAT = {"kind": "Conv2DOptions"}, {"kind": "FullyConnectedOptions"}, {"kind": "ConcatenationOptions"}
MAPS = {
    "a convolution": alone("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), (1, 8, 8, 16), **CONV),
    "a dilated one": alone("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), (1, 8, 8, 16), **CONV, dilationHFactor=2, dilationWFactor=2),
    "a fused relu6": alone("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), (1, 8, 8, 16), **CONV, fusedActivationFunction=3),
    "a mean over places": alone("MEAN", (1, 7, 7, 5), [1, 2], (1, 5)),
    "a mean over four channels": alone("MEAN", (1, 7, 7, 4), [3], (1, 7, 7)),
    "a padded image": alone("PAD", (1, 8, 8, 3), [0, 0, 1, 1, 1, 1, 0, 0], (1, 10, 10, 3)),
    "a zero block behind": alone("CONCATENATION", (1, 4), (1, 4), (1, 8), **CONCAT),
    "16,000 choices": alone("SOFTMAX", (1, 16000), (1, 16000)),
    "a reshape": alone("RESHAPE", (1, 4, 4, 2), [1, 32], (1, 32)),
    "a split of channels": alone("SPLIT", (1, 8), [1], (1, 4)),
    "a resize to 128": alone("RESIZE_BILINEAR", (1, 64, 64, 3), [128, 128], (1, 128, 128, 3)),
    "five dimensions, the outer two of 1": alone("ADD", (1, 1, 2, 3, 4), (1, 1, 2, 3, 4), (1, 1, 2, 3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("what", MAPS)
def test_operator_within_the_known_limits_maps(what: str) -> None:
    net = Net()
    ends = MAPS[what](net)
    if what == "a zero block behind":
        net.buffers[-1].data = [0, 0, 0, 0]
    prediction = predict(net.content(*ends))
    assert prediction.outcome == "all", prediction.sentence


STAYS = {
    "no such operator": (alone("GATHER", (1, 4), (2,), (1, 2)), "has no such operator"),
    "int16": (lambda net: _unary(net, "TANH", {"dtype": "INT16"}, {}), "works on int16"),
    "a float result": (lambda net: _unary(net, "TANH", {}, FLOAT), "works on float32"),
    "no scale": (lambda net: _unary(net, "TANH", {"scale": ()}, {}), "has no scale"),
    "batch": (alone("CONV_2D", (2, 8, 8, 3), (16, 3, 3, 3), (2, 8, 8, 16), **CONV), "above 1: 2 × 8 × 8 × 3"),
    "dilations": (alone("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), (1, 8, 8, 16), **CONV, dilationHFactor=2), "dilation differs in x and y: 1 and 2"),
    "a fused tanh": (alone("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), (1, 8, 8, 16), **CONV, fusedActivationFunction=4), "a fused TANH"),
    "a fused relu in a pool": (alone("MAX_POOL_2D", (1, 8, 8, 3), (1, 4, 4, 3), kind="Pool2DOptions", fusedActivationFunction=1), "a fused RELU"),
    "computed weights": (lambda net: _computed_weights(net), "its input 2, a parameter, is not constant"),
    "float weights": (lambda net: _weights(net, FLOAT), "works on float32"),
    "a float bias": (lambda net: _bias(net, FLOAT), "its bias is float32"),
    "shuffled weights": (alone("FULLY_CONNECTED", (1, 4), (2, 4), (1, 2), **FC, weightsFormat=1), "not in the default format"),
    "rows": (alone("FULLY_CONNECTED", (3, 4), (2, 4), (3, 2), **FC, keepNumDims=True), "gives more than one dimension: 3 × 2"),
    "too many choices": (alone("SOFTMAX", (1, 16001), (1, 16001)), "over 16001 numbers, 16000 at most"),
    "ones behind": (alone("CONCATENATION", (1, 4), (1, 4), (1, 8), **CONCAT), "not one block of zeros"),
    "a fused relu behind": (alone("CONCATENATION", (1, 4), (1, 8), **CONCAT, fusedActivationFunction=1), "a fused RELU"),
    "a mean over the batch": (alone("MEAN", (1, 7, 7, 4), [0], (7, 7, 4)), "reduces the batch dimension"),
    "a mean over five channels": (alone("MEAN", (1, 7, 7, 5), [-1], (1, 7, 7)), "whose 5 are no multiple of 4"),
    "a sum over the batch": (alone("SUM", (1, 8), [0], (8,)), "reduces the batch dimension"),
    "a padded batch": (alone("PAD", (1, 8, 8, 3), [0, 1, 0, 0, 0, 0, 0, 0], (2, 8, 8, 3)), "above 1: 2 × 8"),
    "a padded leading dimension": (alone("PAD", (1, 8), [1, 0, 0, 0], (2, 8)), "it pads the batch dimension"),
    "packed along the batch": (alone("PACK", (4,), (1, 4), kind="PackOptions", axis=0), "packs along the batch"),
    "a split batch": (alone("SPLIT", (2, 8), [0], (1, 8)), "it splits the batch dimension"),
    "slopes a place": (alone("PRELU", (1, 4, 4, 2), (4, 4, 2), (1, 4, 4, 2)), "its slopes have more than one dimension"),
    "strides": (alone("STRIDED_SLICE", (1, 8), [0, 0], [1, 8], [1, 2], (1, 4)), "its strides are not all 1"),
    "a new axis": (alone("STRIDED_SLICE", (1, 8), [0, 0], [1, 8], [1, 1], (1, 8), kind="StridedSliceOptions", newAxisMask=1), "a new axis"),
    "one pixel resized": (alone("RESIZE_BILINEAR", (1, 1, 1, 8), [33, 33], (1, 33, 33, 8)), "one pixel is spread"),
    "a large resize": (alone("RESIZE_NEAREST_NEIGHBOR", (1, 128, 128, 3), [256, 256], (1, 256, 256, 3)), "256 × 256 is too large"),
    "an input is missing": (lambda net: _missing(net), "inputs or outputs is missing"),
}  # fmt: skip


def _unary(net: Net, name: str, takes: dict[str, Any], gives: dict[str, Any]) -> tuple[list[int], list[int]]:
    """One operator that is examined, and one in int8 beside it, without which the file is none for the compiler."""
    source, result = net.tensor(1, 4, **takes), net.tensor(1, 4, **gives)
    net.operator(name, [source], [result])
    return [source], [result]


def _computed_weights(net: Net) -> tuple[list[int], list[int]]:
    inputs, result = [net.tensor(1, 4), net.tensor(2, 4)], net.tensor(1, 2)
    net.operator("FULLY_CONNECTED", [*inputs, -1], [result])
    return inputs, [result]


def _weights(net: Net, how: dict[str, Any]) -> tuple[list[int], list[int]]:
    source, result = net.tensor(1, 4), net.tensor(1, 2)
    net.operator("FULLY_CONNECTED", [source, net.weights(2, 4, **how), -1], [result])
    return [source], [result]


def _bias(net: Net, how: dict[str, Any]) -> tuple[list[int], list[int]]:
    source, result = net.tensor(1, 4), net.tensor(1, 2)
    net.operator("FULLY_CONNECTED", [source, net.weights(2, 4), net.weights(2, **how)], [result])
    return [source], [result]


def _missing(net: Net) -> tuple[list[int], list[int]]:
    source, result = net.tensor(1, 4), net.tensor(1, 2)
    net.operator("FULLY_CONNECTED", [source], [result])
    return [source], [result]


@pytest.mark.parametrize("what", STAYS)
def test_operator_beyond_a_known_limit_stays_with_its_reason(what: str) -> None:
    build, reason = STAYS[what]
    net = Net()
    inputs, outputs = build(net)
    spare = net.operator("LOGISTIC", [net.tensor(1, 4)], [net.tensor(1, 4)])  # so that there is something in 8 bits
    first, _ = predict(net.content(inputs, [*outputs, spare])).operators
    assert not first.maps
    assert reason in first.reason


def test_float_ends_stay_and_what_is_between_maps() -> None:
    net = Net()
    source = net.tensor(1, 4, **FLOAT)
    inside = net.dense(net.operator("QUANTIZE", [source], [net.tensor(1, 4)]), 4, 2)
    output = net.operator("DEQUANTIZE", [inside], [net.tensor(1, 2, **FLOAT)])
    prediction = predict(net.content([source], [output]))
    assert (prediction.outcome, prediction.mapped, prediction.left) == ("part", 1, ["QUANTIZE", "DEQUANTIZE"])


def test_uint8_ends_are_absorbed() -> None:
    net = Net()
    source = net.tensor(1, 4, dtype="UINT8")
    inside = net.dense(net.operator("QUANTIZE", [source], [net.tensor(1, 4)]), 4, 2)
    output = net.operator("QUANTIZE", [inside], [net.tensor(1, 2, dtype="UINT8")])
    assert predict(net.content([source], [output])).outcome == "all"


def test_detection_head_stays_behind_its_network() -> None:
    """The shape of the public SSD models: two heads, and TFLite_Detection_PostProcess in float."""
    net = Net()
    image = net.tensor(1, 8, 8, 3)
    heads = [
        net.operator("CONV_2D", [image, net.weights(4, 1, 1, 3)], [net.tensor(1, 8, 8, 4)], **CONV) for _ in range(2)
    ]
    flat = [net.operator("RESHAPE", [head, net.integers(1, 64, 4)], [net.tensor(1, 64, 4)]) for head in heads]
    scores = net.operator("LOGISTIC", [flat[1]], [net.tensor(1, 64, 4)])
    found = [net.tensor(1, 10, 4, **FLOAT), net.tensor(1, 10, **FLOAT)]
    net.operator("TFLite_Detection_PostProcess", [flat[0], scores, net.weights(64, 4)], found)
    prediction = predict(net.content([image], found))
    assert (prediction.mapped, prediction.left) == (5, ["TFLite_Detection_PostProcess"])


def test_operator_behind_two_cpu_operators_names_the_one_that_strands_it() -> None:
    net = Net()
    source = net.tensor(1, 4)
    absent = net.operator("ABS", [net.operator("TANH", [source], [net.tensor(1, 4)])], [net.tensor(1, 4)])
    behind = net.operator("TANH", [net.operator("LOGISTIC", [absent], [net.tensor(1, 4)])], [net.tensor(1, 4)])
    prediction = predict(net.content([source], [behind]))
    assert [f.maps for f in prediction.operators] == [True, False, False, False]
    assert prediction.operators[3].reason == "supported, but stranded behind 2 ABS"


@pytest.mark.parametrize(
    ("name", "version", "telling"),
    [
        ("CONV_2D", 6, "CONV_2D is of version 6, and the compiler knows it up to 5"),  # google-coral/edgetpu issue 631
        ("QUANTIZE", 3, "up to 2"),  # issue 879
        ("TRANSPOSE_CONV", 4, "up to 3"),  # issue 845
        ("EXP", 2, "up to 1"),  # google-coral/libedgetpu issue 71
        ("FULLY_CONNECTED", 12, "up to 9"),
        ("GELU", 1, "GELU is newer than the compiler"),
        ("FlexErf", 1, "TensorFlow's own operator"),
    ],
)
def test_operator_that_the_compiler_does_not_know_refuses_the_file(name: str, version: int, telling: str) -> None:
    net = Net()
    source, result = net.tensor(1, 4), net.tensor(1, 4)
    net.operator(name, [source], [result], version=version)
    prediction = predict(net.content([source], [result]))
    assert prediction.outcome == "refused"
    assert telling in prediction.sentence
    assert prediction.mapped == 0


def _reshaped(net: Net) -> tuple[list[int], list[int]]:
    inputs, result = [net.tensor(1, 4), net.tensor(2, dtype="INT32")], net.tensor(1, 4)
    net.operator("RESHAPE", inputs, [result])
    return inputs, [result]


@pytest.mark.parametrize(
    ("build", "telling"),
    [
        (alone("TANH", (-1, 4), (-1, 4)), "a tensor of TANH has no constant size"),
        (_reshaped, "the size of what RESHAPE gives is computed"),
        (alone("WHERE", (1, 4), (1, 4)), "depends on its values"),
    ],
)
def test_tensor_without_a_constant_size_refuses_the_file(build: Any, telling: str) -> None:
    net = Net()
    prediction = predict(net.content(*build(net)))
    assert prediction.outcome == "refused"
    assert telling in prediction.why


def test_batch_that_is_open_in_the_signature_alone_is_taken(shared: Path) -> None:
    """The compiler goes by the allocated shape: it took dense_256, whose signature leaves the batch open."""
    content = pair(shared, "dense_256")[0]
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).subgraphs[0]
    assert -1 in graph.tensors[graph.inputs[0]].shapeSignature
    assert predict(content).outcome == "all"


def test_float_model_is_refused() -> None:
    net = Net()
    source, result = net.tensor(1, 4, **FLOAT), net.tensor(1, 4, **FLOAT)
    net.operator("TANH", [source], [result])
    assert predict(net.content([source], [result])).sentence.startswith("the compiler refuses it: it is not quantized")


def test_file_without_a_single_supported_operator_maps_nothing() -> None:
    net = Net()
    source, result = net.tensor(1, 4), net.tensor(1, 4)
    net.operator("ABS", [source], [result])
    prediction = predict(net.content([source], [result]))
    assert prediction.outcome == "nothing"
    assert prediction.sentence == "no operator maps: 1 ABS stays on the CPU (the Edge TPU has no such operator)"


def test_weights_beyond_the_chip_are_streamed() -> None:
    net = Net()
    source = net.tensor(1, 4096)
    prediction = predict(net.content([source], [net.dense(source, 4096, 4096)]))
    assert prediction.memory.parameters == pytest.approx(16 << 20, rel=0.01)
    assert prediction.memory.streamed == prediction.memory.parameters - edgetpu_memory.CACHE
    assert prediction.memory.left == 0
    assert "at least 8.29 MiB streamed at every inference" in prediction.sentence


def test_published_size_of_a_dense_layer_is_met(shared: Path) -> None:
    """Compiler 16 reported 66.00 KiB for a layer of 256 × 256 with a scale a channel."""
    assert edgetpu_memory.size(predict(pair(shared, "dense_256")[0]).memory.parameters) == "66 KiB"


def test_page_lists_the_operators_that_are_known() -> None:
    page = (ROOT / "docs" / "coral.md").read_text(encoding="utf-8")
    listed = page.split("\nOperators: ")[1].split(".\n")[0].replace("\n", " ").split(", ")
    assert listed == sorted(set(edgetpu_rules.RULES) - {"UNIDIRECTIONAL_SEQUENCE_LSTM"})


def test_doubt_is_told() -> None:
    net = Net()
    prediction = predict(net.content(*MAPS["a resize to 128"](net)))
    assert "perhaps" in prediction.sentence
    assert "may stay on the CPU" in edgetpu_lint.text("x.tflite", prediction)


# --- files that are none, or worse -----------------------------------------------------------------


def takes_no_harm(content: bytes) -> None:
    begun = time.monotonic()
    try:
        edgetpu_lint.text("x", predict(content))
    except errors.TFLiteUnreadable as error:
        assert "\n" not in str(error)
    assert time.monotonic() - begun < 10


def test_every_truncation_is_one_error() -> None:
    content = policy()
    for length in range(0, len(content) - 1, 7):
        takes_no_harm(content[:length])
    for length in (0, 3, 7, 8, 64):
        with pytest.raises(errors.TFLiteUnreadable):
            predict(content[:length])


def test_every_count_of_four_billion_is_survived() -> None:
    content = policy()
    for place in range(8, len(content) - 4, 4):
        takes_no_harm(content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :])


def test_random_damage_is_survived() -> None:
    drawn = random.Random(1)
    for _ in range(1500):
        content = bytearray(policy())
        for _ in range(drawn.choice((1, 3, 20))):
            content[drawn.randrange(8, len(content))] = drawn.randrange(256)
        takes_no_harm(bytes(content))


def test_tables_that_repeat_one_vector_end_in_an_error() -> None:
    """A small file in which each of many operators reads the same long vector of inputs."""
    from ai_edge_litert import schema_py_generated as schema

    net = Net()
    net.operator("TANH", [net.tensor(1, 4)] * 60_000, [net.tensor(1, 4)])
    content = net.content([0], [1])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    model.subgraphs[0].operators *= 200
    with pytest.raises(errors.TFLiteUnreadable, match="more than 4194304 numbers"):
        predict(packed(model))


def test_operators_in_a_circle_are_refused() -> None:
    net = Net()
    one, other = net.tensor(1, 4), net.tensor(1, 4)
    net.operator("TANH", [one], [other])
    net.operator("TANH", [other], [one])
    with pytest.raises(errors.TFLiteUnreadable, match="reads what is only written by or after it"):
        predict(net.content([one], [other]))


def test_tensor_with_two_writers_is_refused() -> None:
    net = Net()
    source, result = net.tensor(1, 4), net.tensor(1, 4)
    for _ in range(2):
        net.operator("TANH", [source], [result])
    with pytest.raises(errors.TFLiteUnreadable, match="a tensor is written twice"):
        predict(net.content([source], [result]))


def test_file_that_is_another_kind_of_file_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(errors.TFLiteUnreadable, match="not a TFLite file. Expected b'TFL3' at byte 4, found 5 bytes"):
        predict(b"PK\3\4\0")
    with pytest.raises(errors.TFLiteUnreadable, match="cannot be opened"):
        tflite_graph.read_file(tmp_path / "none.tflite")


def test_names_of_a_stranger_reach_no_terminal_raw() -> None:
    net = Net()
    source = net.tensor(1, 4)
    net.operator("\x1b[31mred", [source], [net.tensor(1, 4)])
    shown = edgetpu_lint.text("x", predict(net.content([source], [source + 1])))
    assert "\x1b" not in shown and "red" in shown


# --- the command -----------------------------------------------------------------------------------


def lint(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [toolchains.python("test"), "-m", "pipeline.hops.edgetpu_lint", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=toolchains.environment(), timeout=60)


@pytest.fixture
def a_model(tmp_path: Path) -> str:
    path = tmp_path / "policy.tflite"
    path.write_bytes(policy())
    return str(path)


def test_table_ends_with_the_outcome(a_model: str) -> None:
    done = lint(a_model)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == a_model
    assert lines[1].split() == ["1", "FULLY_CONNECTED", "Edge", "TPU"]
    assert lines[-2] == "parameters: about 768 B, 7.73 MiB left on the chip, nothing streamed"
    assert lines[-1] == "✓ all 5 operators map, 768 B of about 8 MiB on chip"


def test_machines_get_an_object_a_file(a_model: str, tmp_path: Path) -> None:
    done = lint("--json", a_model, str(tmp_path / "none.tflite"))
    first, second = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert (first["outcome"], first["mapped"], first["left"]) == ("all", 5, [])
    assert first["memory"] == {"parameters": 768, "left": edgetpu_memory.CACHE - 768, "streamed": 0, "on_chip": 8 << 20}
    assert len(first["operators"]) == 5
    assert second["refusal"]["error"] == "TFLiteUnreadable"


def test_command_of_doit_shows_the_table_and_nothing_else(a_model: str) -> None:
    done = subprocess.run([ROOT / "doit", "coral", a_model], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("✓ all 5 operators map, 768 B of about 8 MiB on chip\n")
    assert "steps run" not in done.stdout


def test_command_of_doit_without_a_file_says_what_it_wants() -> None:
    done = subprocess.run([ROOT / "doit", "coral"], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 2
    assert "./doit coral FILE" in done.stdout
