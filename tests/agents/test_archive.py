"""Archives are read without executing what is in them, and refused by what is wrong with them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import errors
from pipeline.agents import archive

from .conftest import Tripwire
from .forging import EXECUTING
from .making import Tiny, described, members, quickly, repack, serialized, told, write_zip

FIELDS = ("policy_class", "observation_space", "action_space", "policy_kwargs")
MIB = 1 << 20


def refusal(path: Path, error: type[errors.SlipwayError]) -> str:
    """What the reader says of an archive that it refuses with this class, and no subclass of another."""
    with pytest.raises(errors.SlipwayError) as refused:
        archive.read(path)
    assert type(refused.value) is error, refused.value
    assert refused.value.file == str(path)
    return told(refused.value)


def tensors(state: object, **how: Any) -> bytes:
    held = io.BytesIO()
    torch.save(state, held, **how)
    return held.getvalue()


# --- what is read ----------------------------------------------------------------------------------


def test_archive_tells_its_agent(a_tiny_agent: Tiny) -> None:
    opened = archive.read(a_tiny_agent.zip)
    loaded = a_tiny_agent.loaded
    assert opened.algorithm == a_tiny_agent.cls.__name__
    assert opened.policy_class == f"{type(loaded.policy).__module__}.{type(loaded.policy).__qualname__}"
    assert opened.observation_space == described(loaded.observation_space)
    assert opened.action_space == described(loaded.action_space)
    assert opened.settings["num_timesteps"] == loaded.num_timesteps
    assert opened.version == "2.9.2"
    assert set(opened.weights) == set(loaded.policy.state_dict())
    for name, tensor in loaded.policy.state_dict().items():
        assert torch.equal(opened.weights[name], tensor)


def test_pickled_classes_are_names(made: Callable[[str], Tiny]) -> None:
    kwargs = archive.read(made("dqn_elu").zip).policy_kwargs
    assert str(kwargs["activation_fn"]) == "torch.nn.modules.activation.ELU"
    assert kwargs["net_arch"] == [9]


def test_reading_executes_nothing_and_opens_one_file(a_tiny_agent: Tiny, tripwire: Tripwire) -> None:
    with tripwire.set(a_tiny_agent.zip):
        archive.read(a_tiny_agent.zip)
    assert tripwire.events == []


def test_version_is_optional(content: dict[str, bytes], zip_path: Path) -> None:
    kept = {name: held for name, held in content.items() if name in ("data", "policy.pth")}
    assert archive.read(write_zip(zip_path, kept)).version == "unknown"


def test_deflated_members_are_read(content: dict[str, bytes], zip_path: Path) -> None:
    assert archive.read(write_zip(zip_path, content, compression=zipfile.ZIP_DEFLATED)).algorithm == "PPO"


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(content: dict[str, bytes], zip_path: Path, compression: int) -> None:
    write_zip(zip_path, content, compression=compression)
    assert "is compressed in a way that Stable-Baselines3 does not use" in refusal(zip_path, errors.NotAnAgent)


def test_weights_of_old_torch_are_read(content: dict[str, bytes], a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    old = tensors(archive.read(a_tiny_ppo_agent.zip).weights, _use_new_zipfile_serialization=False)
    assert not old.startswith(b"PK")
    assert archive.read(write_zip(zip_path, {**content, "policy.pth": old})).weights.keys()


def test_ddpg_is_td3_with_one_critic_however_its_kwargs_are_saved(made: Callable[[str], Tiny]) -> None:
    assert json.loads(members(made("ddpg_box").zip)["data"])["policy_kwargs"]["n_critics"] == 1
    assert ":serialized:" in json.loads(members(made("ddpg_elu").zip)["data"])["policy_kwargs"]
    assert {archive.read(made(name).zip).algorithm for name in ("ddpg_box", "ddpg_elu")} == {"DDPG"}


# --- files that are no archives --------------------------------------------------------------------


def test_empty_file_is_called_empty(zip_path: Path) -> None:
    zip_path.write_bytes(b"")
    assert "agent.zip is empty (0 bytes)" in refusal(zip_path, errors.AgentFileDamaged)


@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "starts with '<!DOCTYPE html>'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "starts with 'version https://git-"),
        (b"\x1f\x8b\x08\x00gzip", "is not a zip"),
        (b"\x80\x04}.", "is not a zip"),
        (b"\x89PNG\r\n", "is not a zip"),
        (b"Rar!\x1a\x07", "is not a zip"),
    ],
)
def test_other_files_are_told_by_their_start(start: bytes, wanted: str, zip_path: Path) -> None:
    zip_path.write_bytes(start + bytes(100))
    text = refusal(zip_path, errors.NotAnAgent)
    assert wanted in text
    assert "Fetch the real file" in text


CUTS = {
    "in the first header": 20,
    "in data": 5_000,
    "behind a whole .pth": 20_000,
    "behind all weights": -2_400,
    "in the directory": -200,
    "in the last byte": -1,
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_cut_archive_is_called_cut_short(a_tiny_ppo_agent: Tiny, zip_path: Path, cut: int) -> None:
    """The .pth inside is a zip too, whose directory must not be taken for the archive's own."""
    zip_path.write_bytes(a_tiny_ppo_agent.zip.read_bytes()[:cut])
    assert "is cut short: no zip directory at its end" in refusal(zip_path, errors.AgentFileDamaged)


def test_no_cut_is_read(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    whole = a_tiny_ppo_agent.zip.read_bytes()
    for cut in range(0, len(whole), len(whole) // 100):
        zip_path.write_bytes(whole[:cut])
        with pytest.raises((errors.AgentFileDamaged, errors.NotAnAgent)):
            archive.read(zip_path)


def test_flipped_bits_are_refused_or_change_nothing(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    whole, weights = a_tiny_ppo_agent.zip.read_bytes(), archive.read(a_tiny_ppo_agent.zip).weights
    refused = 0
    for place in range(7, len(whole), len(whole) // 200):
        zip_path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            found = archive.read(zip_path).weights
        except (errors.AgentFileDamaged, errors.NotAnAgent):
            refused += 1
            continue
        assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert refused > 150


# --- zips with something wrong ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data", "policy.pth"])
def test_missing_member_is_named(content: dict[str, bytes], zip_path: Path, name: str) -> None:
    write_zip(zip_path, {key: held for key, held in content.items() if key != name})
    assert f"has no member '{name}': not a Stable-Baselines3 agent" in refusal(zip_path, errors.NotAnAgent)


def test_zip_of_something_else_is_no_agent(zip_path: Path) -> None:
    write_zip(zip_path, {"holiday.jpg": b"x"})
    assert "agent.zip has no member 'data'" in refusal(zip_path, errors.NotAnAgent)


@pytest.mark.parametrize("name", ["data", "policy.pth"])
def test_checksum_damage_names_the_member(content: dict[str, bytes], zip_path: Path, name: str) -> None:
    def forge(opened: zipfile.ZipFile) -> None:
        opened.getinfo(name).CRC ^= 1

    write_zip(zip_path, content, forge=forge)
    assert f"member {name} of agent.zip is damaged (checksum mismatch)" in refusal(zip_path, errors.AgentFileDamaged)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_bytes_are_told(content: dict[str, bytes], zip_path: Path, compression: int) -> None:
    whole = bytearray(write_zip(zip_path, content, compression=compression).read_bytes())
    whole[100:120] = bytes(byte ^ 0xFF for byte in whole[100:120])
    zip_path.write_bytes(whole)
    assert "agent.zip" in refusal(zip_path, errors.AgentFileDamaged)


def test_members_are_limited(content: dict[str, bytes], zip_path: Path) -> None:
    write_zip(zip_path, {**content, **{f"x{i}": b"" for i in range(60)}})
    assert "has 66 members; the limit is 64" in refusal(zip_path, errors.NotAnAgent)


def test_two_members_of_one_name_are_refused(content: dict[str, bytes], zip_path: Path) -> None:
    write_zip(zip_path, content, forge=lambda opened: opened.writestr("policy.pth", b"another"))
    assert "has two members named policy.pth" in refusal(zip_path, errors.NotAnAgent)


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "a/../../x",
        "/etc/x",
        "\\\\host\\x",
        "C:x",
        pytest.param(
            "..\\..\\x",
        ),
    ],
)
def test_member_that_leaves_the_archive_is_refused(content: dict[str, bytes], zip_path: Path, name: str) -> None:
    write_zip(zip_path, {**content, name: b"x"})
    text = refusal(zip_path, errors.NotAnAgent)
    assert repr(name) in text
    assert "leaves the archive; refused" in text


def test_encrypted_archive_is_refused(content: dict[str, bytes], zip_path: Path) -> None:
    def forge(opened: zipfile.ZipFile) -> None:
        opened.getinfo("data").flag_bits |= 1

    write_zip(zip_path, content, forge=forge)
    assert "is password protected; not supported" in refusal(zip_path, errors.NotAnAgent)


def test_unknown_compression_is_told(content: dict[str, bytes], zip_path: Path) -> None:
    def forge(opened: zipfile.ZipFile) -> None:
        opened.getinfo("data").compress_type = 99

    write_zip(zip_path, content, forge=forge)
    assert "is compressed in a way" in refusal(zip_path, errors.NotAnAgent)


def test_bomb_is_told_by_its_ratio(content: dict[str, bytes], zip_path: Path) -> None:
    write_zip(zip_path, {**content, "x": bytes(4 * MIB)}, compression=zipfile.ZIP_DEFLATED)
    text = refusal(zip_path, errors.NotAnAgent)
    assert "member x unpacks to 4,194,304 bytes from" in text
    assert "the limit is a ratio of 200" in text


def test_bomb_in_the_weights_is_told_by_its_ratio(content: dict[str, bytes], zip_path: Path) -> None:
    inner = {**members(io.BytesIO(content["policy.pth"])), "archive/data/999": bytes(4 * MIB)}
    held = io.BytesIO()
    write_zip(held, inner, compression=zipfile.ZIP_DEFLATED)
    write_zip(zip_path, {**content, "policy.pth": held.getvalue()})
    with quickly(1):
        assert "member archive/data/999 unpacks to 4,194,304 bytes" in refusal(zip_path, errors.NotAnAgent)


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"data": 2 << 30}, "member data unpacks to 2,147,483,648 bytes; the limit is 1 GiB"),
        ({"data": 600 * MIB, "policy.pth": 600 * MIB}, "agent.zip unpacks to more than 1 GiB"),
    ],
)
def test_size_is_limited(content: dict[str, bytes], zip_path: Path, claims: dict[str, int], wanted: str) -> None:
    def forge(opened: zipfile.ZipFile) -> None:
        for name, size in claims.items():
            opened.getinfo(name).file_size = opened.getinfo(name).compress_size = size

    write_zip(zip_path, content, forge=forge)
    assert wanted in refusal(zip_path, errors.NotAnAgent)


def test_bomb_that_claims_to_be_small_is_not_inflated(content: dict[str, bytes], zip_path: Path) -> None:
    def forge(opened: zipfile.ZipFile) -> None:
        opened.getinfo("x").file_size = 1000

    write_zip(zip_path, {**content, "x": bytes(30 * MIB)}, forge=forge, compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        refusal(zip_path, errors.AgentFileDamaged)
        assert tracemalloc.get_traced_memory()[1] < 5 * MIB
    finally:
        tracemalloc.stop()


# --- data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"not json", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\xfa", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON (too deeply nested)"),
        (b'{"a":' * 200_000, "not valid JSON (too deeply nested)"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"n": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    ],
    ids=["words", "nothing", "bytes", "nested lists", "nested objects", "a list", "a huge number"],
)
def test_data_that_is_no_json_object_is_refused(
    content: dict[str, bytes], zip_path: Path, text: bytes, wanted: str
) -> None:
    write_zip(zip_path, {**content, "data": text})
    assert wanted in refusal(zip_path, errors.NotAnAgent)


@pytest.mark.parametrize("name", FIELDS)
def test_missing_field_is_named(a_tiny_ppo_agent: Tiny, zip_path: Path, name: str) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, **{name: None})
    assert f"member data has no '{name}'" in refusal(zip_path, errors.NotAnAgent)


@pytest.mark.parametrize("held", ["no base64!", 5, None, [1], "YQ=", "\u00e9"])
def test_field_that_is_no_base64_is_named(a_tiny_ppo_agent: Tiny, zip_path: Path, held: object) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, action_space={":serialized:": held})
    assert "pickle of action_space is not base64" in refusal(zip_path, errors.PickleRefused)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("attack", EXECUTING)
def test_code_in_a_field_is_refused_unexecuted(
    a_tiny_ppo_agent: Tiny, zip_path: Path, tripwire: Tripwire, marker: Path, attack: str, name: str
) -> None:
    forged = EXECUTING[attack].replace(b"MARKER", str(marker).encode())
    repack(a_tiny_ppo_agent.zip, zip_path, **{name: serialized(forged)})
    with tripwire.set(zip_path):
        text = refusal(zip_path, errors.PickleRefused)
    assert tripwire.events == []
    assert not marker.exists()
    assert f"{name}: the pickle" in text


@pytest.mark.parametrize("attack", ["os.system", "builtins.eval", "INST"])
def test_code_in_a_field_that_is_not_used_is_not_even_read(
    a_tiny_ppo_agent: Tiny, zip_path: Path, tripwire: Tripwire, marker: Path, attack: str
) -> None:
    forged = EXECUTING[attack].replace(b"MARKER", str(marker).encode())
    repack(a_tiny_ppo_agent.zip, zip_path, lr_schedule=serialized(forged), anything=serialized(forged))
    with tripwire.set(zip_path):
        assert archive.read(zip_path).algorithm == "PPO"
    assert tripwire.events == []
    assert not marker.exists()


def test_policy_class_in_plain_text_is_refused(
    a_tiny_ppo_agent: Tiny, zip_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any module that can be imported will do, if its last parent is named after an algorithm."""
    from pipeline.agents import policies

    (tmp_path / "planted" / "sac").mkdir(parents=True)
    marker = tmp_path / "marker"
    (tmp_path / "planted" / "sac" / "code.py").write_text(f"open({str(marker)!r}, 'w').close()\nRun = dict\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    repack(a_tiny_ppo_agent.zip, zip_path, policy_class="planted.sac.code.Run")
    with contextlib.suppress(Exception):
        policies.rebuild(archive.read(zip_path))
    imported = {name for name in sys.modules if name.startswith("planted")}
    for name in imported:
        del sys.modules[name]
    assert not imported
    assert not marker.exists()


@pytest.mark.parametrize("held", ["MlpPolicy", 5, serialized(5), serialized(b"ctorch\ndevice\n."), serialized([])])
def test_policy_class_of_too_few_parts_is_refused(a_tiny_ppo_agent: Tiny, zip_path: Path, held: object) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, policy_class=held)
    with pytest.raises(errors.SlipwayError, match="policy_class"):
        archive.read(zip_path)


# --- weights ---------------------------------------------------------------------------------------


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def _evil_pickle(marker: Path) -> bytes:
    return pickle.dumps(Evil(marker))


def _evil_tensors(marker: Path) -> bytes:
    return tensors({"weight": Evil(marker)})


def _evil_old_tensors(marker: Path) -> bytes:
    return tensors({"weight": Evil(marker)}, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("make", [_evil_pickle, _evil_tensors, _evil_old_tensors])
def test_code_in_the_weights_is_not_executed(
    content: dict[str, bytes], zip_path: Path, tripwire: Tripwire, marker: Path, make: Callable[[Path], bytes]
) -> None:
    write_zip(zip_path, {**content, "policy.pth": make(marker)})
    with tripwire.set(zip_path), pytest.raises(errors.SlipwayError, match="policy.pth: the pickle refers to"):
        archive.read(zip_path)
    assert [event for event in tripwire.events if not event.startswith(("import", "open"))] == []
    assert not marker.exists()


def test_refusal_of_code_in_the_weights_does_not_advise_to_execute_it(
    content: dict[str, bytes], zip_path: Path, marker: Path
) -> None:
    write_zip(zip_path, {**content, "policy.pth": _evil_tensors(marker)})
    with pytest.raises(errors.SlipwayError) as refused:
        archive.read(zip_path)
    assert "posix.system" in str(refused.value)
    assert "weights_only" not in str(refused.value)


@pytest.mark.parametrize(
    ("pth", "error"),
    [
        (b"", errors.WeightsUnfit),
        (b"garbage", errors.WeightsUnfit),
        (b"PK\x03\x04garbage", errors.AgentFileDamaged),
        (tensors([torch.zeros(1)]), errors.WeightsUnfit),
        (tensors({"a": 5}), errors.WeightsUnfit),
        (tensors({"a": {"b": torch.zeros(1)}}), errors.WeightsUnfit),
    ],
    ids=["nothing", "garbage", "half a zip", "a list", "a number", "nested"],
)
def test_weights_that_are_no_tensors_by_name_are_refused(
    content: dict[str, bytes], zip_path: Path, pth: bytes, error: type[errors.SlipwayError]
) -> None:
    write_zip(zip_path, {**content, "policy.pth": pth})
    assert "policy.pth" in refusal(zip_path, error)


def test_cut_weights_are_refused(content: dict[str, bytes], zip_path: Path) -> None:
    for cut in range(100, len(content["policy.pth"]), 5_000):
        write_zip(zip_path, {**content, "policy.pth": content["policy.pth"][:cut]})
        assert "policy.pth is cut short" in refusal(zip_path, errors.AgentFileDamaged)


def test_nested_tuples_in_the_weights_are_never_hashed(content: dict[str, bytes], zip_path: Path) -> None:
    forged = b"\x80\x02}K\x01" + b"q\x01h\x01\x86" * 26 + b"K\x01s."
    inner = {"archive/data.pkl": forged, "archive/version": b"3\n", "archive/byteorder": b"little"}
    held = io.BytesIO()
    write_zip(held, inner)
    write_zip(zip_path, {**content, "policy.pth": held.getvalue()})
    with quickly(), pytest.raises(errors.SlipwayError):
        archive.read(zip_path)
