"""Two nights are compared: every cause, told with the hop where it entered."""

from __future__ import annotations

from typing import Any

import pytest

from nightly.telling import Record, a_record, after, folder, other, verdict
from pipeline.nightly import comparing


def changed(now: Record, before: Record | None = None, **settings: Any) -> dict[str, list[tuple[str, str, str]]]:
    """Causes by ``FOLDER: WHAT``."""
    found = comparing.changes(before or a_record(), now, **settings)
    return {f"{one.folder}: {one.what}": [(c.why, c.says, c.at) for c in one.causes] for one in found}


def locks(record: Record, toolchain: str, **pins: str) -> Record:
    entry = record["locks"][toolchain]
    record["locks"][toolchain] = {"digest": f"{toolchain} lock 2", "pins": {**entry["pins"], **pins}}
    return record


def test_equal_nights_have_no_changes() -> None:
    assert comparing.changes(a_record(), a_record()) == []


def test_key_that_differs_is_no_change_where_the_bytes_are_the_same() -> None:
    assert changed(after(a_record(), onnx={"code": "code 2", "lock": "torch lock 2"})) == {}


CAUSES = {
    "archive": (after(a_record(), sb3=other("sb3", inputs={"zip": "zip 2", "vecnormalize": "none"})),
                "sb3", ("source", "the archive is another", "sb3")),
    "settings": (after(a_record(), onnx=other("onnx", settings={"opset": 15})),
                 "onnx", ("settings", "opset none → 15", "onnx")),
    "versions": (locks(after(a_record(), savedmodel=other("savedmodel", lock="tensorflow lock 2")), "tensorflow", tensorflow="2.0"),
                 "savedmodel", ("versions", "tensorflow: tensorflow 1.0 → 2.0", "savedmodel")),
    "lock without versions": (locks(after(a_record(), savedmodel=other("savedmodel", lock="tensorflow lock 2")), "tensorflow"),
                              "savedmodel", ("versions", "tensorflow: its lock, though no version in it", "savedmodel")),
    "versions of a lock that is the same": (after(a_record(), onnx=other("onnx", versions={"torch": "2"})),
                                            "onnx", ("versions", "torch, though its lock is the same: torch none → 2", "onnx")),
    "code": (after(a_record(), tflite=other("tflite", code="code 2")) | {"commit": "bbb"},
             "tflite", ("code", "Slipway's own (aaa → bbb)", "tflite")),
    "machine": (after(a_record(), tflite__litert=other("ran")) | {"machine": "two"},
                "tflite/litert", ("machine", "the machine: one → two", "tflite/litert")),
    "nothing": (after(a_record(), tflite=other("tflite")),
                "tflite", ("unknown", "nothing that is known changed: these bytes are not reproducible", "tflite")),
    "own observations": (after(a_record(), observations=other("observations", inputs={"source": "sb3 1", "given": "2"})),
                         "observations", ("source", "the file of observations is another", "observations")),
}  # fmt: skip


@pytest.mark.parametrize("case", CAUSES)
def test_cause(case: str) -> None:
    now, where, cause = CAUSES[case]
    assert changed(now) == {f"{where}: bytes": [cause]}


def test_what_follows_has_the_cause_of_the_hop_where_it_entered() -> None:
    now = after(
        a_record(),
        savedmodel=other("savedmodel", lock="tensorflow lock 2"),
        tflite=other("tflite", lock="tensorflow lock 2", inputs={"source": "savedmodel 2"}),
        tflite__litert=other("ran", inputs={"source": "tflite 2", "observations": "o 1", "needs": {}}),
    )
    locks(now, "tensorflow", tensorflow="2.0")
    told = "tensorflow: tensorflow 1.0 → 2.0"
    entered = ("versions", told, "savedmodel")
    assert changed(now) == {
        "savedmodel: bytes": [entered],
        "tflite: bytes": [entered, ("versions", told, "tflite")],
        "tflite/litert: bytes": [entered, ("versions", told, "tflite")],
    }


def test_toolchain_that_only_the_run_needs_is_blamed() -> None:
    before = after(a_record(), onnx__onnxruntime={"inputs": {"needs": {"node": "node lock 1"}}})
    now = after(before, onnx__onnxruntime=other("ran", inputs={"needs": {"node": "node lock 2"}}))
    found = changed(locks(now, "node", node="21"), before)
    assert found == {"onnx/onnxruntime: bytes": [("versions", "node: node 1.0 → 21", "onnx/onnxruntime")]}


def test_node_of_the_machine_is_in_no_lock_and_blamed() -> None:
    before = after(a_record(), onnx__onnxruntime={"inputs": {"needs": {"node": "node lock 1"}}})
    now = after(before, onnx__onnxruntime=other("ran"))
    now["locks"]["node"]["pins"] = {"numpy": "2.0", "node": "21"}
    told = "node, though its lock is the same: node 1.0 → 21"
    assert changed(now, before) == {"onnx/onnxruntime: bytes": [("versions", told, "onnx/onnxruntime")]}


def test_rungs_and_their_end_name_each_other_without_an_end() -> None:
    rung, end = (folder(name, "tensorflow", rungs="r 1", twin="t 1") for name in ("tflite_int8", "tflite_quantized"))
    before = a_record()
    before["agents"]["cartpole"]["folders"] |= {"tflite_int8/litert": rung, "tflite_quantized/litert": end}
    moved = {"inputs": {"rungs": "r 2", "twin": "t 2"}}
    now = after(before, tflite_int8__litert=other("a", **moved), tflite_quantized__litert=other("b", **moved))
    assert set(changed(now, before)) == {"tflite_int8/litert: bytes", "tflite_quantized/litert: bytes"}


def test_verdict_is_blamed_on_what_was_run() -> None:
    now = after(a_record(), tflite__litert=other("ran", code="code 2"))
    now["agents"]["cartpole"]["verdicts"]["tflite/litert"] = verdict(status="failed", reason="too far")
    assert changed(now)["tflite/litert: verdict"] == [("code", "Slipway's own", "tflite/litert")]


def test_verdict_is_blamed_on_what_is_granted() -> None:
    now = a_record()
    now["agents"]["cartpole"]["verdicts"]["tflite/litert"] = verdict(used=0.9, limits={"absolute": 1e-6})
    (change,) = comparing.changes(a_record(), now)
    assert (change.what, change.says) == ("figures", "used 0.01 → 0.9")
    assert [cause.says for cause in change.causes] == ["limits: absolute 5e-05 → 1e-06"]


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"archive": "zip 2"}, "the archive is another"),
        ({"settings": {"int8.return_kept": 0.9}}, "int8.return_kept 0.98 → 0.9"),
    ],
)
def test_failure_is_blamed_on_what_the_step_depends_on(named: dict[str, Any], says: str) -> None:
    now = a_record() | {"failed": {"cartpole:tflite:convert": "ConverterFailed: no"}}
    now["agents"]["cartpole"] |= named
    (change,) = comparing.changes(a_record(), now)
    assert (change.what, change.folder, change.says) == ("failed", "tflite:convert", "ConverterFailed: no")
    assert [cause.says for cause in change.causes] == [says]


def test_failure_is_blamed_on_its_toolchain_and_no_other() -> None:
    now = a_record() | {"failed": {"cartpole:tflite:litert:run": "no"}}
    locks(locks(now, "device", device="9"), "tensorflow", tensorflow="9")
    (change,) = comparing.changes(a_record(), now)
    assert [cause.says for cause in change.causes] == ["device: device 1.0 → 9"]


def test_failure_is_blamed_on_the_artifact_before() -> None:
    now = after(a_record(), savedmodel=other("savedmodel", code="code 2"))
    now["failed"] = {"cartpole:tflite:convert": "no"}
    assert changed(now)["tflite:convert: failed"] == [("code", "Slipway's own", "savedmodel")]


def test_what_a_failure_left_unreached_is_not_told_as_vanished() -> None:
    now = a_record() | {"failed": {"cartpole:tflite:convert": "no"}}
    for name in ("tflite", "tflite/litert"):
        del now["agents"]["cartpole"]["folders"][name]
    assert list(changed(now)) == ["tflite:convert: failed"]


def test_step_that_fails_no_longer_is_mended() -> None:
    assert list(changed(a_record(), a_record() | {"failed": {"cartpole:onnx:convert": "no"}})) == [
        "onnx:convert: mended"
    ]


def test_target_that_is_no_longer_asked_for_has_vanished() -> None:
    now = a_record()
    del now["agents"]["cartpole"]["folders"]["tflite"]
    now["agents"]["cartpole"]["settings"] = {"int8.return_kept": 0.98, "targets": ["onnx"]}
    assert changed(now)["tflite: vanished"] == [("settings", "targets none → ['onnx']", "tflite")]
    assert "tflite: vanished" not in changed(now, whole=False)


def test_kind_that_cannot_be_run_any_more_is_told_with_its_reason() -> None:
    now = after(a_record(), tflite={"files": {}, "status": "not_run", "reason": "no compiler", "code": "code 2"})
    (change,) = comparing.changes(a_record(), now)
    assert (change.what, change.says) == ("status", "built → not_run: no compiler")


def test_agents_come_and_go() -> None:
    now = a_record()
    now["agents"]["pendulum"] = now["agents"].pop("cartpole")
    assert [(one.agent, one.what) for one in comparing.changes(a_record(), now)] == [
        ("cartpole", "vanished"),
        ("pendulum", "appeared"),
    ]
