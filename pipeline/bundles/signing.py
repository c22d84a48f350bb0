"""Signatures by a key that the user holds, made and checked by OpenSSH's ``ssh-keygen -Y``, which needs no network."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from pipeline import artifacts, errors, scratch
from pipeline.bundles import refusals

SUFFIX = ".sig"
NAMESPACE = "slipway"
TOOL = "ssh-keygen"
_RELEASER = "releaser"
_KEY_TYPES = ("ssh-", "ecdsa-", "sk-")


def signature_of(bundle: Path) -> Path:
    """Where a bundle's signature is."""
    return bundle.with_name(bundle.name + SUFFIX)


def tool() -> str:
    """The path of ssh-keygen.

    :raises errors.NotRun: it is not installed
    """
    found = shutil.which(TOOL)
    if not found:
        raise errors.NotRun(f"{TOOL} not found: install OpenSSH's client")
    return found


def sign(bundle: Path, key: Path) -> Path:
    """Write ``BUNDLE.sig``; where the key has a passphrase, ssh-keygen asks for it.

    :param key: a private key, or the public one of a key that ssh-agent holds
    :raises refusals.SigningFailed: the key is none, or ssh-keygen refuses
    """
    for path in (bundle, key):
        if not path.is_file():
            raise refusals.SigningFailed("it is not there", file=path)
    command = [tool(), "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE]
    with bundle.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        raise refusals.SigningFailed(f"{TOOL} refused: {_telling(done)}", file=key)
    artifacts.replace_text(signature_of(bundle), done.stdout)
    return signature_of(bundle)


def check(bundle: Path, signer: Path) -> str:
    """Hold a bundle to its signature.

    :param signer: the releaser's public key, or a file of allowed signers (ssh-keygen(1))
    :return: by whom it is signed
    :raises refusals.SignatureMissing: there is none
    :raises refusals.SignatureRefused: it is not of this file, or not by that key
    """
    signature = signature_of(bundle)
    if not signature.is_file():
        raise refusals.SignatureMissing("it is not signed", file=bundle, expected=signature.name)
    with tempfile.TemporaryDirectory(dir=scratch.folder()) as name:
        allowed = _allowed(signer, Path(name))
        asked = [tool(), "-Y", "find-principals", "-s", str(signature), "-f", str(allowed)]
        found = subprocess.run(asked, capture_output=True, text=True)
        whom = found.stdout.strip().splitlines()
        if found.returncode or not whom:
            what = "it is signed by a key that is not the releaser's"
            raise refusals.SignatureRefused(what, file=signature, expected=str(signer), found=_fingerprint(bundle))
        told = ["-f", str(allowed), "-I", whom[0], "-n", NAMESPACE, "-s", str(signature)]
        done = _of(bundle, ["-Y", "verify", *told])
    if done.returncode:
        raise refusals.SignatureRefused(f"the signature is not of this file ({_telling(done)})", file=bundle)
    by = str(signer) if whom[0] == _RELEASER else whom[0]
    return f"signed by {by}, {_key_in(done.stdout)}"


def glance(bundle: Path) -> str:
    """What there is to say of a signature where nobody said whose it should be.

    :raises refusals.SignatureRefused: it is not of this file
    """
    signature = signature_of(bundle)
    if not signature.is_file():
        return "not signed"
    try:
        done = _of(bundle, ["-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature)])
    except errors.NotRun as absent:
        return f"signed, and not checked: {absent.what}"
    if done.returncode:
        raise refusals.SignatureRefused(f"the signature is not of this file ({_telling(done)})", file=bundle)
    return f"signed with {_key_in(done.stdout)}; whose that is, --signer KEY.pub tells"


def _of(bundle: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    with bundle.open("rb") as file:
        return subprocess.run([tool(), *arguments], stdin=file, capture_output=True, text=True)


def _allowed(signer: Path, folder: Path) -> Path:
    """A file of allowed signers; one that holds the key where ``signer`` is a public key."""
    try:
        text = signer.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise refusals.SignatureRefused(
            "no public key can be read", file=signer, remedy="Give --signer KEY.pub"
        ) from None
    if not text.startswith(_KEY_TYPES):
        return signer
    path = folder / "signers"
    path.write_text(f"{_RELEASER} {text}\n", encoding="utf-8")
    return path


def _fingerprint(bundle: Path) -> str:
    done = _of(bundle, ["-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature_of(bundle))])
    return _key_in(done.stdout) if not done.returncode else _telling(done)


def _key_in(said: str) -> str:
    """The key's type and fingerprint, of ``Good "slipway" signature … with ED25519 key SHA256:…``."""
    return said.strip().rpartition(" with ")[2] or "an unknown key"


def _telling(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr + "\n" + (done.stdout or "")).splitlines() if line.strip()]
    return errors.printable(lines[0])[:200].rstrip(".") if lines else "no message"
