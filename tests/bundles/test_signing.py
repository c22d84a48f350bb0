"""Signatures by ssh-keygen: whose, of which file, and what is said where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.bundles import refusals, signing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"content")
    return path


def test_signed_file_is_told_as_the_signers(file: Path, key: Path) -> None:
    assert signing.sign(file, key) == file.with_name("a.tar.zst.sig")
    said = signing.check(file, key.with_suffix(".pub"))
    assert said.startswith(f"signed by {key}.pub, ED25519 key SHA256:")
    assert signing.glance(file).startswith("signed with ED25519 key SHA256:")


def test_same_file_and_key_make_the_same_signature(file: Path, key: Path) -> None:
    first = signing.sign(file, key).read_bytes()
    assert signing.sign(file, key).read_bytes() == first


def test_file_of_allowed_signers_names_who_signed(file: Path, key: Path) -> None:
    signing.sign(file, key)
    signers = file.with_name("signers")
    signers.write_text(f"# ours\nme@home {key.with_suffix('.pub').read_text()}")
    assert signing.check(file, signers).startswith("signed by me@home, ED25519")


def test_changed_file_is_refused(file: Path, key: Path) -> None:
    signing.sign(file, key)
    file.write_bytes(b"other")
    with pytest.raises(refusals.SignatureRefused, match="The signature is not of this file"):
        signing.check(file, key.with_suffix(".pub"))
    with pytest.raises(refusals.SignatureRefused, match="The signature is not of this file"):
        signing.glance(file)


def test_signature_by_another_key_is_refused(file: Path, key: Path, tmp_path: Path) -> None:
    signing.sign(file, key)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    with pytest.raises(
        refusals.SignatureRefused, match="signed by a key that is not the releaser's.*found ED25519 key"
    ):
        signing.check(file, tmp_path / "other.pub")


def test_signature_for_another_purpose_is_refused(file: Path, key: Path) -> None:
    """One of git's, say, is in another namespace."""
    with file.open("rb") as content:
        done = subprocess.run(["ssh-keygen", "-Y", "sign", "-f", key, "-n", "git"], stdin=content, capture_output=True)
    signing.signature_of(file).write_bytes(done.stdout)
    with pytest.raises(refusals.SignatureRefused):
        signing.check(file, key.with_suffix(".pub"))


def test_what_is_no_signature_is_refused(file: Path, key: Path) -> None:
    signing.signature_of(file).write_text("no signature")
    with pytest.raises(refusals.SignatureRefused):
        signing.check(file, key.with_suffix(".pub"))
    with pytest.raises(refusals.SignatureRefused):
        signing.glance(file)


def test_file_that_is_not_signed_is_refused_where_a_signer_is_named(file: Path, key: Path) -> None:
    assert signing.glance(file) == "not signed"
    with pytest.raises(refusals.SignatureMissing, match="It is not signed. Expected a.tar.zst.sig"):
        signing.check(file, key.with_suffix(".pub"))


def test_key_that_is_none_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(refusals.SigningFailed, match="It is not there"):
        signing.sign(file, tmp_path / "nowhere")
    (tmp_path / "nokey").write_text("no key")
    with pytest.raises(refusals.SigningFailed, match="ssh-keygen refused"):
        signing.sign(file, tmp_path / "nokey")
    assert not signing.signature_of(file).exists()


def test_absent_tool_is_told_and_never_passes(file: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signing.sign(file, key)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert signing.glance(file) == "signed, and not checked: ssh-keygen not found: install OpenSSH's client"
    with pytest.raises(errors.NotRun, match="Ssh-keygen not found|ssh-keygen not found"):
        signing.check(file, key.with_suffix(".pub"))
    with pytest.raises(errors.NotRun):
        signing.sign(file, key)
