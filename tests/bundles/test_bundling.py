"""What goes into a bundle: what passed, and what vouches for it; the same bytes wherever it is packed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from forging_bundles import Members, members

from pipeline import artifacts, fingerprint, toolchains
from pipeline.bundles import packing, statement, telling
from running import ROOT, Built, doit


def again(built: Built, tmp_path: Path, *arguments: str, **environment: str) -> tuple[Path, str]:
    """The bundle of "whole" packed anew, from a copy of the artifacts; and what was said."""
    shutil.copytree(built.artifacts, tmp_path / "elsewhere", symlinks=True)
    shutil.rmtree(tmp_path / "elsewhere" / "bundles")
    run = doit(*arguments, "bundle:whole", configs=built.configs, artifacts=tmp_path / "elsewhere", **environment)
    assert run.code == 0, run.text
    return tmp_path / "elsewhere" / "bundles" / "whole" / "whole.tar.zst", run.text


def test_what_passed_is_in_it_with_all_that_vouches_for_it(whole: Members) -> None:
    assert {name.split("/")[1] for name in whole if name.startswith("artifacts/")} == {"onnx", "onnx_core", "weights"}
    assert {name for name in whole if name.startswith("verdicts/")} == {
        "verdicts/onnx/onnxruntime.json", "verdicts/onnx_core/onnxruntime.json", "verdicts/weights/weights.json",
    }  # fmt: skip
    assert {"locks/torch.txt", "locks/torch.in", "locks/device.txt", "locks/host.txt", "locks/bundles.txt"} <= set(
        whole
    )
    assert "locks/tensorflow.txt" not in whole, "it took no part"
    assert {"README.md", "report.md", "SHA256SUMS", "provenance.json", "bom.cdx.json", "golden.json", "config.toml",
            "licences/slipway.txt"} <= set(whole)  # fmt: skip
    assert not any(name.startswith("source/") or "manifest" in name or "log" in name for name in whole)


def test_files_are_those_of_the_artifacts(bundled: Built, whole: Members) -> None:
    for kind in ("onnx", "onnx_core", "weights"):
        for name in artifacts.manifest(bundled.artifacts / "whole" / kind).files:
            assert whole[f"artifacts/{kind}/{name}"] == (bundled.artifacts / "whole" / kind / name).read_bytes()


def test_tar_and_sha256sum_are_enough_to_check_it(bundle: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "--zstd", "-xf", bundle, "-C", tmp_path], check=True)
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "whole", capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout.count(": OK") == len(
        packing.listed((tmp_path / "whole" / "SHA256SUMS").read_text())
    )


def test_snippets_of_its_readme_run(bundle: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "--zstd", "-xf", bundle, "-C", tmp_path], check=True)
    snippets = re.findall(r"```python\n(.*?)```", (tmp_path / "whole" / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 2
    for text in snippets:
        done = subprocess.run(
            [toolchains.python("device"), "-c", text], cwd=tmp_path / "whole", capture_output=True, text=True
        )
        assert done.stdout in ("[0]\n", "[1]\n"), done.stderr


def test_statement_says_what_went_in_what_came_out_and_by_which_steps(bundled: Built, whole: Members) -> None:
    told = json.loads(whole["provenance.json"])
    assert (told["_type"], told["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    subjects = {entry["name"] for entry in told["subject"]}
    assert subjects == set(whole) - {"provenance.json", "SHA256SUMS"}
    went_in = statement.dependencies(told)
    assert went_in["agent.zip"] == artifacts.digest(bundled.configs / "agent.zip")
    assert went_in["vecnormalize.pkl"] == artifacts.digest(bundled.configs / "statistics.pkl")
    assert went_in["pipeline"] == fingerprint.everything()
    by = statement.steps(told)
    assert list(by)[:2] == ["sb3", "observations"] and {
        "onnx:convert",
        "onnx:onnxruntime:run",
        "onnx:onnxruntime:check",
    } <= set(by)
    assert by["onnx:convert"]["key"] == artifacts.manifest(bundled.artifacts / "whole" / "onnx").key
    assert told["predicate"]["buildDefinition"]["externalParameters"]["config"] == whole["config.toml"].decode()


def test_nothing_in_it_names_this_machine(bundled: Built, whole: Members) -> None:
    named = [str(bundled.configs.parent), str(ROOT), os.uname().nodename, str(toolchains.home())]
    for name, content in whole.items():
        for word in named:
            assert len(word) < 4 or word.encode() not in content, f"{name} names {word}"


def test_bytes_do_not_depend_on_folder_time_locale_or_umask(bundled: Built, bundle: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path, said = again(
            bundled, tmp_path, TZ="Pacific/Kiritimati", LC_ALL="C", HOME=str(tmp_path), PYTHONHASHSEED="7"
        )
    finally:
        os.umask(before)
    assert "whole.tar.zst is written: 3 kinds" in said
    assert path.read_bytes() == bundle.read_bytes()


def test_time_of_its_members_is_source_date_epoch(bundled: Built, bundle: Path, tmp_path: Path) -> None:
    path, _ = again(bundled, tmp_path, SOURCE_DATE_EPOCH="1700000000")
    listed = subprocess.run(["tar", "--zstd", "--utc", "-tvf", path], capture_output=True, text=True).stdout
    assert set(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", listed)) == {"2023-11-14 22:13"}
    changed = packing.same(sums(members(path)), sums(members(bundle)))
    assert changed == ["bom.cdx.json", "provenance.json"], "the bill has a time of its own"
    run = doit("bundle:whole", configs=bundled.configs, artifacts=tmp_path / "elsewhere", SOURCE_DATE_EPOCH="now")
    assert run.code == 1 and "SOURCE_DATE_EPOCH is no time. Found 'now'" in run.text


def sums(held: Members) -> dict[str, str]:
    return packing.listed(held["SHA256SUMS"].decode())


def test_bundle_is_up_to_date_until_something_changes(bundled: Built, tmp_path: Path) -> None:
    shutil.copytree(bundled.artifacts, tmp_path / "artifacts")
    shutil.copytree(bundled.configs, tmp_path / "configs")
    path = tmp_path / "artifacts" / "bundles" / "whole" / "whole.tar.zst"

    def said() -> str:
        run = doit("bundle:whole", configs=tmp_path / "configs", artifacts=tmp_path / "artifacts")
        assert run.code == 0, run.text
        return run.text

    assert "is up to date: 3 kinds" in said()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    assert "is written: 3 kinds" in said() and path.read_bytes() == content, "a changed byte is noticed"
    config = tmp_path / "configs" / "whole.toml"
    config.write_text(config.read_text() + "source = true\n")
    assert "is written: 3 kinds" in said()
    held = members(path)
    assert held["source/agent.zip"] == (bundled.configs / "agent.zip").read_bytes()
    assert held["source/vecnormalize.pkl"] == (bundled.configs / "statistics.pkl").read_bytes()


def test_what_did_not_pass_is_left_out_and_told(bundled: Built) -> None:
    held = members(bundled.artifacts / "bundles" / "partly" / "partly.tar.zst")
    assert not any("onnx_core" in name for name in held)
    assert "- `onnx_core`, not run: nothing to calibrate on" in held["README.md"].decode()
    (left,) = json.loads(held["provenance.json"])["predicate"]["buildDefinition"]["internalParameters"]["left_out"]
    assert (left["kind"], left["status"]) == ("onnx_core", "not_run")
    assert "without onnx_core: not run: nothing to calibrate on" in bundled.run.text


def test_agent_of_which_nothing_passed_has_no_bundle(bundled: Built) -> None:
    assert bundled.run.code
    assert not (bundled.artifacts / "bundles" / "nothing").exists()
    error = bundled.run.text[bundled.run.text.index("NothingToBundle") :].splitlines()[0]
    assert (
        error.startswith("NothingToBundle: agent nothing, hop bundle")
        and "No artifact passed (onnx: in onnxruntime: " in error
    )


def test_artifact_that_failed_since_is_left_out_though_it_passed_once(bundled: Built, tmp_path: Path) -> None:
    shutil.copytree(bundled.artifacts, tmp_path / "artifacts")
    shutil.copytree(bundled.configs, tmp_path / "configs")
    config = tmp_path / "configs" / "whole.toml"
    config.write_text(config.read_text() + "[tolerance]\nabsolute = 1e-30\nrelative = 0.0\n")
    run = doit("bundle:whole", configs=tmp_path / "configs", artifacts=tmp_path / "artifacts")
    assert (
        run.code == 1
        and "NothingToBundle" in run.text
        and "no artifact passed (onnx: in onnxruntime: " in run.text.lower()
    )


def test_bundle_goes_with_no_other_task(bundled: Built) -> None:
    run = doit("bundle:whole", "onnx", configs=bundled.configs, artifacts=bundled.artifacts)
    assert run.code == 1 and "Bundle goes with no other task. Found onnx." in run.text


WAIVED = {
    "kind": "tflite_quantized", "source": "savedmodel_core", "says": "", "status": "waived", "files": {},
    "waiver": {"reason": "good enough for the demo", "of": "91.0% of the return kept"}, "runtimes": {"litert": "waived"},
}  # fmt: skip


def test_waiver_is_carried_with_its_reason() -> None:
    facts = {"agent": "tiny", "environment": "", "licence": "", "kinds": [WAIVED], "left_out": [], "source": False,
             "findings": ["tflite_int8 failed: too little"]}  # fmt: skip
    contract = {
        "algorithm": "PPO",
        "takes": [{"name": "observation", "dtype": "float32", "shape": ["batch", 4], "layout": "batch first"}],
    }
    text = telling.readme(facts, contract)
    assert "- `tflite_quantized`: 91.0% of the return kept. The reason given: “good enough for the demo”" in text
    assert "| `tflite_quantized` |" in text and "! waived |" in text
    verdict = {"status": "waived", "reason": "91.0% of the return kept", "figures": {}}
    report = telling.report(facts, {"tflite_quantized/litert": verdict})
    assert "| tflite_quantized | litert | waived |" in report and "tflite_int8 failed: too little" in report
