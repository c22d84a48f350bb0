"""Pickles that execute code when unpickled, or that exhaust who reads them."""

from __future__ import annotations

import pickle
from typing import Any

COMMAND = b"S'touch MARKER'\n"
OPEN = b'S\'open("MARKER","w")\'\n'


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def stack_global(module: str, name: str) -> bytes:
    return b"\x80\x04" + short(module) + short(name) + b"\x93"


# By name: a pickle in which MARKER stands for the path of a file that it makes when it is executed.
EXECUTING = {
    "os.system": b"cos\nsystem\n(" + COMMAND + b"tR.",
    "posix.system": b"cposix\nsystem\n(" + COMMAND + b"tR.",
    "builtins.eval": b"cbuiltins\neval\n(" + OPEN + b"tR.",
    "builtins.exec": b"cbuiltins\nexec\n(" + OPEN + b"tR.",
    "python 2 eval": b"c__builtin__\neval\n(" + OPEN + b"tR.",
    "builtins.open": b"cbuiltins\nopen\n(S'MARKER'\nS'w'\ntR.",
    "subprocess.check_output": b"csubprocess\ncheck_output\n((lS'touch'\naS'MARKER'\natR.",
    "functools.partial": b"cfunctools\npartial\n(cos\nsystem\n" + COMMAND + b"tR)R.",
    "operator.attrgetter": b"coperator\nattrgetter\n(S'system'\ntR(cbuiltins\n__import__\n(S'os'\ntRtR("
    + COMMAND
    + b"tR.",
    "operator.methodcaller": b"coperator\nmethodcaller\n(S'system'\n"
    + COMMAND
    + b"tR(cbuiltins\n__import__\n(S'os'\ntRtR.",
    "builtins.getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(" + COMMAND + b"tR.",
    "builtins.map": b"cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nsystem\n(" + COMMAND + b"ltRtR.",
    "importlib": b"cimportlib\nimport_module\n(S'antigravity'\ntR.",
    "pathlib": b"cpathlib\nPath.touch\n(cpathlib\nPath\n(S'MARKER'\ntRtR.",
    "runpy": b"crunpy\nrun_path\n(S'MARKER'\ntR.",
    "timeit": b"ctimeit\ntimeit\n(" + OPEN + b"tR.",
    "pickle.loads": b"cpickle\nloads\n(cbuiltins\nbytes\n((lI46\natRtR.",
    "torch.load": b"ctorch\nload\n(S'MARKER'\ntR.",
    "torch storage": b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.",
    "torch hub": b"ctorch.hub\nload\n(S'a/b'\nS'c'\ntR.",
    "numpy.load": b"cnumpy\nload\n(S'MARKER'\ntR.",
    "numpy runstring": b"cnumpy.testing._private.utils\nrunstring\n(" + OPEN + b"(dtR.",
    "numpy crackfortran": b"cnumpy.f2py.crackfortran\nmyeval\n(" + OPEN + b"tR.",
    "numpy savetxt": b"cnumpy\nsavetxt\n(S'MARKER'\n(ltR.",
    "cloudpickle function": pickle.dumps(0)[:2] + b"ccloudpickle.cloudpickle\n_make_function\n)R.",
    "code object": b"ctypes\nCodeType\n)R.",
    "copyreg": b"ccopyreg\n_reconstructor\n(cos\nsystem\ncos\nsystem\nNtR.",
    "a method of an allowed class": stack_global("stable_baselines3.common.policies", "ActorCriticPolicy.load") + b".",
    "an import of an allowed module": stack_global("stable_baselines3.common.policies", "th.load") + b".",
    "an attribute of an allowed class": b"cnumpy\ndtype.__init__\n.",
    "a neighbour of an allowed name": b"ctorch.optim.adam\nadam\n.",
    "a child of an allowed module": b"cnumpy.random._pickle.os\nsystem\n(" + COMMAND + b"tR.",
    "an allowed name as a module": b"ccollections.OrderedDict\n__init__\n.",
    "a blank after an allowed name": b"cnumpy\ndtype \n.",
    "a null byte after an allowed name": b"cnumpy\ndtype\0\n.",
    "parts of a name in the memo": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940\x8c\x01x0h\x01\x93(" + COMMAND + b"tR.",
    "a name that is no text": b"\x80\x04K\x01K\x02\x93.",
    "a name in bytes": b"\x80\x04C\x02osC\x06system\x93.",
    "INST": b"(" + COMMAND + b"ios\nsystem\n.",
    "INST of an allowed name": b"(icollections\nOrderedDict\n.",
    "OBJ": b"(cos\nsystem\n" + COMMAND + b"o.",
    "OBJ of an allowed name": b"(ccollections\nOrderedDict\no.",
    "PERSID": b"PMARKER\n.",
    "BINPERSID": b"S'MARKER'\nQ.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "READONLY_BUFFER": b"\x80\x05C\x01a\x98.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n" + COMMAND + b"\x85\x81.",
    "NEWOBJ_EX with keywords": b"\x80\x04cnumpy\ndtype\n)}S'align'\nI1\ns\x92.",
    "BUILD on a name": b"cnumpy\ndtype\n}S'__setstate__'\ncos\nsystem\nsb.",
    "BUILD on an allowed name": b"ctorch\ndevice\n}S'__call__'\nS'x'\nsb.",
    "BUILD on a mapping": b"}}S'__class__'\nS'x'\nsb.",
    "a call of text": b"S'os.system'\n(" + COMMAND + b"tR.",
    "a call of a call": b"cnumpy\ndtype\n)R(" + COMMAND + b"tR.",
    "a call without a tuple": b"cnumpy\ndtype\n" + COMMAND + b"R.",
}

MALFORMED = {
    "nothing": b"",
    "no end": b"\x80\x04]",
    "an empty stack at the end": b".",
    "an unknown opcode": b"\xff.",
    "BINBYTES8 of 2**62": b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x.",
    "BYTEARRAY8 of 2**40": b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"x.",
    "BINUNICODE8 of 2**63": b"\x80\x04\x8d" + (1 << 63).to_bytes(8, "little") + b"x.",
    "BINBYTES of 4 GiB": b"B\xff\xff\xff\xffx.",
    "BINSTRING of a negative length": b"T\xff\xff\xff\xffx.",
    "LONG4 of 2 GiB": b"\x8b\xff\xff\xff\x7fx.",
    "LONG4 of a negative length": b"\x8b\xff\xff\xff\xffx.",
    "INT of 5000 digits": b"I" + b"9" * 5000 + b"\n.",
    "GET of what was never put": b"g7\n.",
    "LONG_BINGET of 4 G": b"j\xff\xff\xff\xff.",
    "PUT from an empty stack": b"p0\n.",
    "GET of a negative index": b"]p0\ng-1\n.",
    "APPENDS without a mark": b"]K\x01e.",
    "APPEND to a number": b"K\x01K\x02a.",
    "SETITEMS of an odd number": b"}(K\x01u.",
    "SETITEM on a list": b"]K\x01K\x02s.",
    "a list as a key": b"}]K\x01s.",
    "a tuple as a key": b"}(ttK\x01s.",
    "text that is no UTF-8": b"X\x01\x00\x00\x00\xff.",
    "_codecs.encode of nothing": b"c_codecs\nencode\n)R.",
}


def nest(depth: int, core: bytes = b"K\x01") -> bytes:
    """A tuple of twice the tuple of twice …: ``2**depth`` leaves to whoever walks it, in ``2 * depth`` bytes."""
    return core + b"2\x86" * depth


def nested_mappings(depth: int) -> bytes:
    """The like of mappings, which push no further entry on the stack."""
    return b"]q\x00" + (b"0}(" + short("a") + b"h\x00" + short("b") + b"h\x00uq\x00") * depth


def record(module: str, name: str, state: Any) -> bytes:
    """An object of a class, made of nothing, with this state (bytes: the opcodes that push it)."""
    pushed = state if isinstance(state, bytes) else pickle.dumps(state, protocol=2)[2:-1]
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + b")\x81" + pushed + b"b."


def box(state: Any) -> bytes:
    return record("gymnasium.spaces.box", "Box", state)


def kwargs(key: str, value: bytes) -> bytes:
    """policy_kwargs with one key, its value given as opcodes."""
    return b"\x80\x02}" + short(key) + value + b"s."
