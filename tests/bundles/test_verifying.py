"""A bundle that was changed in any way is refused, with the reason; one that was not holds, in under two seconds."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forging_bundles import Members, consistent, edited, packed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import errors, toolchains
from pipeline.bundles import golden, refusals, verifying
from running import ROOT, Built, Run, doit


def verify(*arguments: str | Path, built: Built) -> Run:
    return doit("verify", *map(str, arguments), configs=built.configs, artifacts=built.artifacts)


def refusal(held: Members, tmp_path: Path) -> str:
    """Why a bundle of these members is refused."""
    path = packed(tmp_path / "forged.tar.zst", held, "whole")
    (tmp_path / "target").mkdir()
    with pytest.raises(errors.SlipwayError) as caught:
        verifying.verify(path, tmp_path / "target")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bundle_holds(bundled: Built, bundle: Path) -> None:
    run = verify(bundle, built=bundled)
    assert run.code == 0
    assert "whole, PPO, 3 kinds\n" in run.text
    assert "✓ golden vectors hold: onnx, onnx_core, weights\n" in run.text
    assert "– not signed\n" in run.text


def test_check_takes_less_than_two_seconds(bundled: Built, bundle: Path) -> None:
    took = []
    for _ in range(4):  # other things may be done on the machine
        begun = time.monotonic()
        verify(bundle, built=bundled)
        took.append(time.monotonic() - begun)
        if took[-1] < 2:
            return
    raise AssertionError(f"each check took longer: {took}")


def test_signed_bundle_is_held_to_its_signer(bundled: Built, bundle: Path, key: Path, tmp_path: Path) -> None:
    copy = tmp_path / "whole.tar.zst"
    copy.write_bytes(bundle.read_bytes())
    assert doit("sign", str(copy), "--key", str(key), configs=bundled.configs, artifacts=bundled.artifacts).code == 0
    run = verify("--signer", f"{key}.pub", copy, built=bundled)
    assert run.code == 0 and f"✓ signed by {key}.pub, ED25519 key SHA256:" in run.text
    copy.write_bytes(bundle.read_bytes() + b"?")
    run = verify(copy, built=bundled)
    assert run.code == 2 and "SignatureRefused" in run.text


CHANGES: dict[str, tuple[Callable[[Members], Members], str]] = {
    "changed": (
        lambda m: {**m, "artifacts/onnx/policy.onnx": m["artifacts/onnx/policy.onnx"][:-1] + b"?"},
        "The member artifacts/onnx/policy.onnx is changed. Expected sha256 ",
    ),
    "missing": (
        lambda m: {name: content for name, content in m.items() if name != "verdicts/onnx/onnxruntime.json"},
        "The member verdicts/onnx/onnxruntime.json is missing. Expected sha256 ",
    ),
    "extra": (
        lambda m: {**m, "artifacts/onnx/setup.py": b"print()"},
        "The member artifacts/onnx/setup.py is not one of it. Expected what SHA256SUMS lists.",
    ),
    "renamed": (
        lambda m: {("x.onnx" if name == "artifacts/onnx/policy.onnx" else name): content for name, content in m.items()},
        "The member artifacts/onnx/policy.onnx is renamed. Expected artifacts/onnx/policy.onnx, found x.onnx.",
    ),
    "without a list": (lambda m: {k: v for k, v in m.items() if k != "SHA256SUMS"}, "It has no SHA256SUMS."),
    "with a list that is none": (lambda m: {**m, "SHA256SUMS": b"nonsense"}, "SHA256SUMS: no line of a list of digests"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_bundle_is_refused_with_a_member(whole: Members, tmp_path: Path, change: str) -> None:
    act, why = CHANGES[change]
    assert why in refusal(act(dict(whole)), tmp_path)


def of_onnx(change: Callable[[dict], object]) -> Callable[[Members], Members]:
    """With the contract of onnx changed."""
    return lambda m: edited(m, "artifacts/onnx/policy.json", change)


def of_statement(change: Callable[[dict], object]) -> Callable[[Members], Members]:
    return lambda m: edited(m, "provenance.json", change)


CAREFUL: dict[str, tuple[Callable[[Members], Members], str]] = {
    "another agent's contract": (of_onnx(lambda c: c.update(agent="other")), "The contract of onnx is another's. Expected agent whole, found other."),
    "another kind's contract": (of_onnx(lambda c: c.update(kind="weights")), "The contract of onnx is another's"),
    "a contract without golden vectors": (of_onnx(lambda c: c["golden"]["outputs"].pop("action")), "has no whole golden vectors"),
    "a contract of a file that is not there": (of_onnx(lambda c: c["files"].append("more.onnx")), "names more.onnx, which is not there"),
    "a contract from another source": (of_onnx(lambda c: c["source"].update({"agent.zip": "0" * 64})), "artifact onnx is made from another agent.zip"),
    "a contract that is a list": (lambda m: {**m, "artifacts/onnx/policy.json": b"[]"}, "artifacts/onnx/policy.json is not as Slipway writes it (ValueError: no object)"),
    "a contract without its fields": (lambda m: {**m, "artifacts/onnx/policy.json": b"{}"}, "is not as Slipway writes it (KeyError: 'kind')"),
    "a contract without an algorithm": (of_onnx(lambda c: c.pop("algorithm")), "is not as Slipway writes it (KeyError: 'algorithm')"),
    "a key twice": (lambda m: {**m, "golden.json": m["golden.json"], "artifacts/onnx/policy.json": b'{"kind": "a", "kind": "b"}'}, "a key is there twice"),
    "tables without end": (lambda m: {**m, "artifacts/onnx/policy.json": b'{"a":' * 100_000}, "artifacts/onnx/policy.json is not as Slipway writes it (RecursionError"),
    "a text that is none": (lambda m: {**m, "config.toml": b"\xff\xfe"}, "config.toml is no text"),
    "another config": (lambda m: {**m, "config.toml": b'zip = "other.zip"\n'}, "is about another agent or config"),
    "another lock": (lambda m: {**m, "locks/torch.txt": b"torch==0"}, "locks/torch.txt is not the lock that it was built with"),
    "another agent beside": (lambda m: {**m, "source/agent.zip": b"PK"}, "source/agent.zip is not what it was built from"),
    "a kind that it does not tell": (lambda m: {**m, "artifacts/tflite/policy.tflite": b"TFL3"}, "It holds other kinds than it says"),
    "a kind that there is not": (lambda m: of_statement(lambda s: s["predicate"]["buildDefinition"]["internalParameters"]["kinds"].append({"kind": "evil"}))({**m, "artifacts/evil/x": b""}), "found evil"),
    "a verdict that failed": (lambda m: edited(m, "verdicts/onnx/onnxruntime.json", lambda v: v.update(status="failed")), "artifact onnx did not pass, and is in a bundle. Found failed."),
    "no verdict": (lambda m: {k: v for k, v in m.items() if k != "verdicts/onnx/onnxruntime.json"}, "artifact onnx did not pass, and is in a bundle. Found no verdict."),
    "a waiver without a reason": (lambda m: edited(m, "verdicts/onnx/onnxruntime.json", lambda v: v.update(status="waived")), "artifact onnx is waived without a reason"),
    "a bill that is none": (lambda m: {**m, "bom.cdx.json": b"{}"}, "bom.cdx.json is no CycloneDX 1.6"),
    "no bill": (lambda m: {k: v for k, v in m.items() if k != "bom.cdx.json"}, "It has no bom.cdx.json"),
    "a statement of another kind": (of_statement(lambda s: s.update(predicateType="other")), "provenance.json is no statement of Slipway's"),
    "a statement about no agent": (of_statement(lambda s: s["predicate"]["buildDefinition"].update(resolvedDependencies=[])), "does not say from which agent"),
    "a statement without its fields": (lambda m: {**m, "provenance.json": b'{"subject": []}'}, "provenance.json is not as Slipway writes it (KeyError: '_type')"),
}  # fmt: skip


@pytest.mark.parametrize("change", CAREFUL)
def test_bundle_whose_list_was_made_to_agree_is_refused_for(whole: Members, tmp_path: Path, change: str) -> None:
    act, why = CAREFUL[change]
    assert why in refusal(consistent(act(dict(whole))), tmp_path)


def test_statement_about_another_file_is_refused(whole: Members, tmp_path: Path) -> None:
    held = consistent(dict(whole))
    held = edited(held, "provenance.json", lambda s: s["subject"].pop())
    import hashlib

    digest = hashlib.sha256(held["provenance.json"]).hexdigest()
    lines = [
        f"{digest}  provenance.json" if line.endswith("  provenance.json") else line
        for line in held["SHA256SUMS"].decode().splitlines()
    ]
    assert "provenance.json is not about this " in refusal({**held, "SHA256SUMS": "\n".join(lines).encode()}, tmp_path)


def test_another_agents_name_is_refused(whole: Members, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar.zst", whole, "other")
    with pytest.raises(refusals.BundleUnfit, match="about another agent"):
        verifying.verify(path, tmp_path / "target")


def test_artifact_that_decides_otherwise_is_refused(bundled: Built, whole: Members, tmp_path: Path) -> None:
    """Its digests agree, its answers do not."""
    from safetensors.numpy import load, save

    weights = load(whole["artifacts/weights/weights.safetensors"])
    other = save({name: 2 * values + 1 for name, values in weights.items()})
    path = packed(
        tmp_path / "x.tar.zst", consistent({**whole, "artifacts/weights/weights.safetensors": other}), "whole"
    )
    run = verify(path, built=bundled)
    assert run.code == 2
    assert (
        "GoldenVectorsMissed: agent whole" in run.text
        and "The artifact weights: " in run.text
        and " is off by " in run.text
    )
    assert "Traceback" not in run.text


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(1000)])
def test_artifact_that_no_runtime_reads_is_refused(
    bundled: Built, whole: Members, tmp_path: Path, content: bytes
) -> None:
    path = packed(tmp_path / "x.tar.zst", consistent({**whole, "artifacts/onnx/policy.onnx": content}), "whole")
    run = verify(path, built=bundled)
    assert run.code == 2 and "onnxruntime cannot run it" in run.text and "Traceback" not in run.text


def test_program_out_of_a_bundle_is_not_run(bundled: Built, whole: Members, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = f"open({str(mark)!r}, 'w')\n".encode() + whole["artifacts/weights/numpy_policy.py"]
    path = packed(tmp_path / "x.tar.zst", consistent({**whole, "artifacts/weights/numpy_policy.py": evil}), "whole")
    run = verify(path, built=bundled)
    assert run.code == 0 and not mark.exists()
    assert "! artifacts/weights/numpy_policy.py is not the one of this clone, and was not run" in run.text


def test_runtime_that_is_not_there_is_no_pass(bundled: Built, bundle: Path, tmp_path: Path) -> None:
    for name in (f"bundles-{toolchains.lock_digest('bundles')[:12]}", "host"):
        (tmp_path / name).symlink_to(toolchains.home() / name)
    environment = {"SLIPWAY_TOOLCHAINS": str(tmp_path), "UV_OFFLINE": "1", "UV_NO_CACHE": "1", "UV_FIND_LINKS": ""}
    run = doit("verify", str(bundle), configs=bundled.configs, artifacts=bundled.artifacts, **environment)
    assert run.code == 2
    assert "Golden vectors not run: installing device failed" in run.text
    assert "golden vectors hold" not in run.text


def test_answers_are_held_to_what_the_check_measured(bundled: Built) -> None:
    home = bundled.artifacts / "whole" / "onnx"
    verdict = json.loads((home / "onnxruntime" / "verdict.json").read_text())
    assert golden.compare(home, "onnxruntime", [verdict]) == ""


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_member_holds_only_our_errors_are_raised(
    whole: Members, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """JSON of any form where a bundle has its own, in a bundle whose digests agree."""
    scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    anything = st.recursive(
        scalar,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )
    name = data.draw(st.sampled_from(sorted(name for name in whole if name.endswith(".json") and name != "SHA256SUMS")))
    told = json.loads(whole[name])
    place, keys = told, sorted(told)
    while keys:
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            keys = sorted(place)
            continue
        place[key] = data.draw(anything)
        break
    held = {**whole, name: json.dumps(told).encode()}
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        path = packed(folder / "x.tar.zst", consistent(held), "whole")
    except (KeyError, TypeError):
        return
    try:
        verifying.verify(path, folder / "target")
    except errors.SlipwayError as error:
        assert "\n" not in str(error)


def test_every_way_to_call_it_wrongly_is_one_line(bundled: Built) -> None:
    for arguments in ([], ["nothing.tar.zst"], [str(ROOT / "README.md")], ["--key"], ["a", "--unknown"]):
        run = verify(*arguments, built=bundled)
        assert run.code in (2, 3) and "Traceback" not in run.text, run.text


def test_entry_prints_an_error_as_json(tmp_path: Path) -> None:
    call = [toolchains.python("bundles"), "-m", "pipeline.bundles.verifying", str(tmp_path / "no"), str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, env=toolchains.environment())
    assert json.loads(done.stdout)["error"] == "BundleUnreadable"
