"""Pickles read as plain records, without executing anything.

Unpickling calls whatever the pickle names. This reader interprets the opcodes itself and never calls:
a global becomes a :class:`Name`, a call or an object becomes a :class:`Record` of its name, arguments
and state. Only names on the list are accepted, as exact pairs of module and name, never prefixes.
Opcode semantics: the standard library's ``pickletools``, which also checks every length against the
bytes that are there, so a forged length cannot make this reader allocate.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import IO, Any

from pipeline import errors

MAX_OPCODES = 200_000
MAX_ENCODED = 1 << 26
MAX_KEY = 1 << 32

_NUMPY_CORES = ("numpy.core", "numpy._core")
_GYMS = ("gym", "gymnasium")
_SPACES = ("box.Box", "discrete.Discrete", "multi_discrete.MultiDiscrete", "multi_binary.MultiBinary", "dict.Dict")
_POLICIES = {
    "stable_baselines3.common.policies": (
        "ActorCriticPolicy",
        "ActorCriticCnnPolicy",
        "MultiInputActorCriticPolicy",
    ),
    "stable_baselines3.dqn.policies": ("DQNPolicy", "CnnPolicy", "MultiInputPolicy"),
    "stable_baselines3.sac.policies": ("SACPolicy", "CnnPolicy", "MultiInputPolicy"),
    "stable_baselines3.td3.policies": ("TD3Policy", "CnnPolicy", "MultiInputPolicy"),
    "sb3_contrib.ars.policies": ("ARSPolicy", "ARSLinearPolicy"),
    "sb3_contrib.common.maskable.policies": (
        "MaskableActorCriticPolicy",
        "MaskableActorCriticCnnPolicy",
        "MaskableMultiInputActorCriticPolicy",
    ),
    "sb3_contrib.common.recurrent.policies": (
        "RecurrentActorCriticPolicy",
        "RecurrentActorCriticCnnPolicy",
        "RecurrentMultiInputActorCriticPolicy",
    ),
    "sb3_contrib.crossq.policies": ("CrossQPolicy",),
    "sb3_contrib.qrdqn.policies": ("QRDQNPolicy", "CnnPolicy", "MultiInputPolicy"),
    "sb3_contrib.tqc.policies": ("TQCPolicy", "CnnPolicy", "MultiInputPolicy"),
}
_ACTIVATIONS = (
    *("CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish"),
    *("PReLU", "ReLU", "ReLU6", "RReLU", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh"),
    "Tanhshrink",
)
_OPTIMIZERS = (
    *("adadelta.Adadelta", "adagrad.Adagrad", "adam.Adam", "adamax.Adamax", "adamw.AdamW", "asgd.ASGD"),
    *("nadam.NAdam", "radam.RAdam", "rmsprop.RMSprop", "rprop.Rprop", "sgd.SGD"),
)

POLICIES = frozenset((module, name) for module, names in _POLICIES.items() for name in names)

ALLOWED: frozenset[tuple[str, str]] = frozenset(
    [
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.random._pickle", "__randomstate_ctor"),
        ("numpy.random._pickle", "__bit_generator_ctor"),
        ("numpy.random._pickle", "__generator_ctor"),
        ("numpy.random._pcg64", "PCG64"),
        ("numpy.random._mt19937", "MT19937"),
        ("numpy.random.bit_generator", "SeedSequence"),
        ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
        ("_codecs", "encode"),
        ("builtins", "set"),
        ("collections", "OrderedDict"),
        ("torch", "device"),
        ("stable_baselines3.common.vec_env.vec_normalize", "VecNormalize"),
        ("stable_baselines3.common.running_mean_std", "RunningMeanStd"),
        ("stable_baselines3.common.torch_layers", "FlattenExtractor"),
        ("stable_baselines3.common.torch_layers", "NatureCNN"),
        ("stable_baselines3.common.torch_layers", "CombinedExtractor"),
        ("stable_baselines3.common.sb2_compat.rmsprop_tf_like", "RMSpropTFLike"),
        *((f"{core}.multiarray", name) for core in _NUMPY_CORES for name in ("_reconstruct", "scalar")),
        *((f"{core}.numeric", "_frombuffer") for core in _NUMPY_CORES),
        *((f"{gym}.spaces.{s.partition('.')[0]}", s.partition(".")[2]) for gym in _GYMS for s in _SPACES),
        *POLICIES,
        *(("torch.nn.modules.activation", name) for name in _ACTIVATIONS),
        ("torch.nn.modules.linear", "Identity"),
        *((f"torch.optim.{o.partition('.')[0]}", o.partition(".")[2]) for o in _OPTIMIZERS),
    ]
)


_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
# What torch.save writes for a mapping of names to tensors (torch/_utils.py).
TENSORS: frozenset[tuple[str, str]] = frozenset(
    [
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        *(("torch", f"{kind}Storage") for kind in _STORAGES),
    ]
)


# Every name, for a reader who imports only what a config allows: a record of it is as passive as any.
ANY: frozenset[tuple[str, str]] = frozenset([("*", "*")])


@dataclass(frozen=True)
class Name:
    """A global that the pickle names: never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """A call or an object of the pickle: never made."""

    callee: Name
    args: tuple[Any, ...]
    state: Any = None


def _mapping(pairs: list[Any]) -> dict[Any, Any]:
    """Keys are plain and small: hashing a forged nest of tuples takes exponential time, and multiples of 2**61 - 1
    all have the same hash.
    """
    keys = pairs[::2]
    if not all(isinstance(key, str) or (isinstance(key, int) and abs(key) < MAX_KEY) for key in keys):
        raise errors.PickleRefused("the pickle has a mapping whose keys are not names or numbers")
    return dict(zip(keys, pairs[1::2], strict=True))


class _Mark:
    """The stack's mark."""


_PUSHES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class _Reader:
    """One method an opcode group; the stack and the memo are pickle's."""

    def __init__(self, allowed: frozenset[tuple[str, str]]) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.encoded = 0

    def name(self, module: object, name: object) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise errors.PickleRefused("the pickle names a global by something that is not text")
        if (module, name) not in self.allowed and self.allowed is not ANY:
            named = f"{module}.{name}"[:200]
            raise errors.PickleRefused(f"the pickle refers to {named}, which is not on the allowed list")
        return Name(module, name)

    def to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (top := self.stack.pop()) is not _Mark:
            items.append(top)
        return items[::-1]

    def call(self, callee: object, args: object) -> None:
        if self.allowed is ANY and isinstance(callee, Record):  # a class that is pickled by value is called too
            callee = Name("", f"what {callee.callee} gave")
        if not isinstance(callee, Name) or not isinstance(args, tuple):
            raise errors.PickleRefused("the pickle calls something that it does not name")
        if callee == Name("_codecs", "encode") and isinstance(args[0], str):
            self.encoded += len(args[0])  # a memoized text can be encoded, and so copied, over and over
            if self.encoded > MAX_ENCODED:
                raise errors.PickleRefused(f"the pickle encodes more than {MAX_ENCODED:,} bytes")
            self.stack.append(args[0].encode("latin-1"))
        elif callee == Name("collections", "OrderedDict") and not args:
            self.stack.append({})
        elif callee == Name("builtins", "set") and isinstance(args[0], list):
            self.stack.append(args[0])
        else:
            self.stack.append(Record(callee, args))

    def build(self, state: object) -> None:
        target = self.stack[-1]
        if isinstance(target, dict) and self.allowed is TENSORS:  # attributes of a state_dict: dropped
            return
        if not isinstance(target, Record):
            if self.allowed is ANY:
                return
            raise errors.PickleRefused("the pickle sets the state of something that is not an object")
        target.state = state

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        target.update(_mapping(pairs))

    def structure(self, op: str) -> bool:
        """Containers and the stack. True if ``op`` was one of these."""
        stack = self.stack
        if op in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"):
            stack.append({"EMPTY_TUPLE": (), "EMPTY_DICT": {}}.get(op, []))
        elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(op[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif op in ("TUPLE", "LIST", "FROZENSET"):
            items = self.to_mark()
            stack.append(tuple(items) if op == "TUPLE" else items)
        elif op == "DICT":
            stack.append(_mapping(self.to_mark()))
        elif op in ("APPENDS", "ADDITEMS"):
            items = self.to_mark()
            stack[-1].extend(items)
        elif op == "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        elif op in ("SETITEM", "SETITEMS"):
            self.set_items(self.to_mark() if op == "SETITEMS" else [stack.pop() for _ in "kv"][::-1])
        elif op == "MARK":
            stack.append(_Mark)
        elif op == "POP":
            stack.pop()
        elif op == "POP_MARK":
            self.to_mark()
        elif op == "DUP":
            stack.append(stack[-1])
        else:
            return False
        return True

    def remember(self, op: str, arg: Any) -> bool:
        """The memo. True if ``op`` was one of its."""
        if op in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[arg] = self.stack[-1]
        elif op == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif op in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[arg])
        else:
            return False
        return True

    def step(self, op: str, arg: Any) -> None:
        stack = self.stack
        if op in _PUSHES:
            stack.append(arg)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op == "GLOBAL":
            stack.append(self.name(*arg.split(" ", 1)))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(self.name(module, name))
        elif op in ("REDUCE", "NEWOBJ"):
            args, callee = stack.pop(), stack.pop()
            self.call(callee, args)
        elif op == "NEWOBJ_EX":
            kwargs, args, callee = stack.pop(), stack.pop(), stack.pop()
            if kwargs:
                raise errors.PickleRefused("the pickle makes an object with keyword arguments")
            self.call(callee, args)
        elif op == "BUILD":
            self.build(stack.pop())
        elif op == "BINPERSID" and self.allowed is TENSORS:  # a tensor's storage, which lies beside the pickle
            stack[-1] = Record(Name("torch", "storage"), (stack[-1],))
        elif op not in ("PROTO", "FRAME") and not self.structure(op) and not self.remember(op, arg):
            raise errors.PickleRefused(f"the pickle uses opcode {op}, which no honest archive needs")


def read(pickled: bytes | IO[bytes], allowed: frozenset[tuple[str, str]] = ALLOWED) -> Any:
    """What a pickle describes, as records.

    :param pickled: the bytes, or a file that is read up to the pickle's end
    :param allowed: exact (module, name) pairs that it may refer to
    :return: primitives, tuples, lists (for sets too), dicts, :class:`Name` and :class:`Record`
    :raises errors.PickleRefused: it names something else, is malformed, or is too long
    """
    reader = _Reader(allowed)
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(pickled)):
            if count > MAX_OPCODES:
                raise errors.PickleRefused(f"the pickle has more than {MAX_OPCODES} opcodes")
            if opcode.name == "STOP":
                return reader.stack.pop()
            reader.step(opcode.name, arg)
    except errors.PickleRefused:
        raise
    except Exception as error:  # a forged stream can break any opcode's assumption, always to one verdict
        raise errors.PickleRefused(f"the pickle is malformed ({type(error).__name__}: {error})") from None
    raise errors.PickleRefused("the pickle has no end")
