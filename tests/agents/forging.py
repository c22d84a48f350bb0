"""Pickles that execute code when unpickled, or that exhaust who reads them."""

from __future__ import annotations

import pickle
from typing import Any

COMMAND = b"S'touch MARKER'\n"
OPEN = b'S\'open("MARKER","w")\'\n'


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text.encode())]) + text.encode()


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
    "os.execv": b"cos\nexecv\n(S'/bin/touch'\n(lS'touch'\naS'MARKER'\natR.",
    "os.posix_spawn": b"cos\nposix_spawn\n(S'/bin/touch'\n(lS'touch'\naS'MARKER'\na(dtR.",
    "shutil.copyfile": b"cshutil\ncopyfile\n(S'/bin/sh'\nS'MARKER'\ntR.",
    "pty.spawn": b"cpty\nspawn\n((lS'touch'\naS'MARKER'\natR.",
    "io.open": b"cio\nopen\n(S'MARKER'\nS'w'\ntR.",
    "code.interact": b"ccode\nInteractiveInterpreter.runsource\n(NS'0'\ntR.",
    "pdb.run": b"cpdb\nrun\n(" + OPEN + b"tR.",
    "cProfile.run": b"ccProfile\nrun\n(" + OPEN + b"tR.",
    "doctest": b"cdoctest\ndebug_script\n(" + OPEN + b"tR.",
    "ctypes": b"cctypes\nCDLL\n(S'libc.so.6'\ntR.",
    "marshal": b"cmarshal\nloads\n(S'c'\ntR.",
    "webbrowser": b"cwebbrowser\nopen\n(S'file:MARKER'\ntR.",
    "urllib": b"curllib.request\nurlretrieve\n(S'file:///bin/sh'\nS'MARKER'\ntR.",
    "socket": b"csocket\ncreate_connection\n((S'127.0.0.1'\nI9\nttR.",
    "logging.config": b"clogging.config\nvalueAsTuple\n(" + OPEN + b"tR.",
    "site.addpackage": b"csite\naddpackage\n(NS'MARKER'\nNtR.",
    "types.FunctionType": b"ctypes\nFunctionType\n(ccodecs\nencode\n(dtR.",
    "builtins.setattr": b"cbuiltins\nsetattr\n(cnumpy\ndtype\nS'x'\nNtR.",
    "builtins.__import__": b"cbuiltins\n__import__\n(S'antigravity'\ntR.",
    "torch.jit.load": b"ctorch.jit\nload\n(S'MARKER'\ntR.",
    "torch inductor": b"ctorch._inductor.codecache\nPyCodeCache.load\n(" + OPEN + b"tR.",
    "numpy.lib.npyio": b"cnumpy.lib.npyio\nsave\n(S'MARKER'\nI0\ntR.",
    "numpy.memmap": b"cnumpy\nmemmap\n(S'MARKER'\nS'f4'\nS'w+'\nI0\n(I4\ntI0\ntR.",
    "cloudpickle loader": b"ccloudpickle.cloudpickle\nsubimport\n(S'antigravity'\ntR.",
    "a loader of the library": b"cstable_baselines3.common.save_util\nload_from_pkl\n(S'MARKER'\ntR.",
    "a saver of the library": b"cstable_baselines3.common.save_util\nsave_to_pkl\n(S'MARKER'\nI0\ntR.",
    "BUILD on a function": b"ccodecs\nencode\n}S'__defaults__'\n(cos\nsystem\ntsb.",
    "BUILD with slots": b"cnumpy\ndtype\n(S'f4'\ntR(N}S'__reduce__'\ncos\nsystem\nstb.",
    "a name put together in the memo": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x9400h\x00h\x01\x93("
    + COMMAND
    + b"tR.",
    "a look-alike of an allowed name": stack_global("numpy", "dtyp\u0435") + b".",
    "control characters in a name": stack_global("os\x1b[2J\n", "system\u202e") + b".",
    "code behind an honest object": b"cnumpy\ndtype\n(S'f4'\ntR0cos\nsystem\n(" + COMMAND + b"tR.",
    "code in an argument": b"cnumpy\ndtype\n(cos\nsystem\n(" + COMMAND + b"tRtR.",
    "code as a key": b"}cos\nsystem\n(" + COMMAND + b"tRI1\ns.",
    "code in a state": b"cgymnasium.spaces.discrete\nDiscrete\n)\x81}S'n'\ncos\nsystem\n(" + COMMAND + b"tRsb.",
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


# --- pickles that take long, or much -----------------------------------------------------------------


def number(value: int) -> bytes:
    """LONG1, as pickle writes what does not fit 32 bits."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def equal_hashes(count: int) -> bytes:
    """A mapping of numbers that all have the same hash, so that each is compared with all before it."""
    return b"}(" + b"".join(number((1 + i) * (2**61 - 1)) + b"N" for i in range(count)) + b"u."


def spaces_of_one_array(count: int, elements: int) -> bytes:
    """A Dict of Boxes whose bounds are one array, stored once."""
    dtype = b"cnumpy\ndtype\n(" + short("u1") + b"tRq\x01"
    content = b"B" + elements.to_bytes(4, "little") + bytes(elements)
    shape = b"J" + elements.to_bytes(4, "little") + b"\x85q\x02"
    array = b"cnumpy._core.numeric\n_frombuffer\n(" + content + b"h\x01" + shape + short("C") + b"tRq\x03"
    state = b"}(" + short("_shape") + b"h\x02" + short("low") + b"h\x03" + short("high") + b"h\x03"
    made = b"cgymnasium.spaces.box\nBox\n)\x81" + state + short("dtype") + b"h\x01ubq\x04"
    named = b"".join(short(f"{i}") + b"h\x04" for i in range(count))
    held = b"cgymnasium.spaces.dict\nDict\n)\x81}" + short("spaces") + b"}(" + named + b"usb."
    return b"\x80\x04" + dtype + b"0" + array + b"0" + made + b"0" + held


def nested_spaces(depth: int) -> bytes:
    """A Dict of twice the Dict of twice …: ``2**depth`` spaces to whoever walks it."""
    start = b"\x80\x04cgymnasium.spaces.discrete\nDiscrete\n)\x81}" + short("n") + b"K\x02sbq\x00"
    level = b"0cgymnasium.spaces.dict\nDict\n)\x81}" + short("spaces")
    level += b"}(" + short("a") + b"h\x00" + short("b") + b"h\x00usbq\x00"
    return start + level * depth + b"."


# By name: a pickle that exhausts who reads it as pickles are usually read.
EXHAUSTING = {
    "a tuple of twice the tuple": nest(20_000) + b".",
    "a tuple of twice the tuple as a key": b"}" + nest(26) + b"K\x01s.",
    "a set of nested tuples": b"\x80\x04\x8f(" + nest(26) + b"\x90.",
    "a frozen set of nested tuples": b"\x80\x04(" + nest(26) + b"\x91.",
    "lists of ten times the list": b"]q\x00" + (b"](" + b"h\x00" * 10 + b"eq\x00") * 10 + b".",
    "mappings of twice the mapping": nested_mappings(26) + b".",
    "a list in itself": b"]q\x00" + b"h\x00a" * 5000 + b".",
    "100,000 tuples around nothing": b")" + b"\x85" * 100_000 + b".",
    "100,000 lists around nothing": b"(" * 100_000 + b"l" * 100_000 + b".",
    "100,000 marks": b"(" * 100_000 + b".",
    "100,000 copies of the top": b"]" + b"2" * 100_000 + b".",
    "100,000 entries of the memo": b"\x80\x04]" + b"\x94" * 100_000 + b".",
    "an index of the memo of 4 G": b"]r\xff\xff\xff\xff.",
    "50,000 keys of one hash": equal_hashes(50_000),
    "a number of 2 million digits": b"\x8b" + (900_000).to_bytes(4, "little") + b"\x7f" * 900_000 + b".",
    "a number of 1,000 digits as a key": b"}L" + b"7" * 1000 + b"L\nNs.",
    "text encoded over and over": b"X" + (90_000).to_bytes(4, "little") + b"a" * 90_000 + b"q\x00" + short("latin1")
    + b"q\x01c_codecs\nencode\nq\x02" + b"h\x02h\x00h\x01\x86R" * 5000 + b".",
    "one array as a thousand spaces": spaces_of_one_array(1000, 60_000),
    "spaces of twice the space": nested_spaces(26),
    "a Discrete of 600 digits": record("gymnasium.spaces.discrete", "Discrete", {"n": 10**600}),
}  # fmt: skip


# --- files of tensors --------------------------------------------------------------------------------


def zipped_tensors(pickled: bytes, **storages: bytes) -> dict[str, bytes]:
    """The members of a ``.pth``; storages by their key, after an underscore."""
    held = {f"archive/data/{key.lstrip('_')}": content for key, content in storages.items()}
    return {"archive/data.pkl": pickled, "archive/version": b"3\n", "archive/byteorder": b"little", **held}


def old_tensors(pickled: bytes, place: int = 3) -> bytes:
    """A ``.pth`` of torch before 1.6: five pickles, of which this one stands in its place."""
    honest = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, [])]
    return b"".join([*honest[:place], pickled, *honest[place + 1 :]])


def tensor(claimed: int, offset: int, shape: Any, strides: Any, storage: str = "FloatStorage") -> bytes:
    """The opcodes of a tensor over storage 0, which it claims to have this many elements."""
    pushed = b"".join(pickle.dumps(value, protocol=2)[2:-1].replace(b"q\0", b"") for value in (offset, shape, strides))
    held = (
        b"(X\x07\0\0\0storagectorch\n" + storage.encode() + b"\nX\x01\0\0\0000X\x03\0\0\0cpu" + number(claimed) + b"tQ"
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + held + pushed + b"\x89ccollections\nOrderedDict\n)RtR"


def mapping(**tensors: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(short(name) + held for name, held in tensors.items()) + b"u."
