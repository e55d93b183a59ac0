"""Ways to damage a file: its bytes, its text, a safetensors header, what is packed in it, what stands in its place."""

from __future__ import annotations

import json
import os
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from glyffctl.core.io import tensors
from glyffctl.core.io.tensor_files import file_digest

Dice = random.Random
Damage = Callable[[bytes, Dice], bytes]


def _span(raw: bytes, dice: Dice) -> tuple[int, int]:
    start = dice.randrange(len(raw))
    return start, min(len(raw), start + dice.choice((1, 2, 8, 60, 500, 5000)))


def flip(raw: bytes, dice: Dice) -> bytes:
    damaged = bytearray(raw)
    for _ in range(dice.choice((1, 1, 2, 8))):
        damaged[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def cut(raw: bytes, dice: Dice) -> bytes:
    return raw[: dice.randrange(1, len(raw))]


def insert(raw: bytes, dice: Dice) -> bytes:
    start, end = _span(raw, dice)
    return raw[:start] + dice.randbytes(end - start) + raw[start:]


def delete(raw: bytes, dice: Dice) -> bytes:
    start, end = _span(raw, dice)
    return raw[:start] + raw[end:]


def double(raw: bytes, dice: Dice) -> bytes:
    start, end = _span(raw, dice)
    return raw[:end] + raw[start:]


def swap(raw: bytes, dice: Dice) -> bytes:
    a, b, c = sorted(dice.randrange(len(raw) + 1) for _ in range(3))
    return raw[:a] + raw[b:c] + raw[a:b] + raw[c:]


def fill(raw: bytes, dice: Dice) -> bytes:
    start, end = _span(raw, dice)
    return raw[:start] + bytes([dice.choice((0, 32, 255))]) * (end - start) + raw[end:]


def not_text(raw: bytes, dice: Dice) -> bytes:
    at = dice.randrange(len(raw))
    return raw[:at] + dice.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\x1b[2J")) + raw[at:]


def bom(raw: bytes, dice: Dice) -> bytes:
    if dice.random() < 0.5:
        return b"\xef\xbb\xbf" * dice.choice((1, 2)) + raw
    return raw.decode("utf-8", "replace").encode(dice.choice(("utf-16", "utf-32", "utf-16-be")))


def empty(raw: bytes, dice: Dice) -> bytes:
    return dice.choice((b"", b"\n", b"   \n\n"))


DEEP = 100_000
VALUES = (
    b"0", b"-1", b"1.5", b"1000000000", b"4294967297", b"-9223372036854775809", b"99999999999999999999999999",
    b"1e999", b"-1e999", b"1e-400", b"9" * 5000, b"NaN", b"nan", b"Infinity", b"-inf",
    b"null", b"true", b'""', b'"x"', b"'", b'"\\ud800"', b'"\\u0000"', b'"../../etc/passwd"', b'"U+110000"',
    b"U+D800", b"U+FFFFFF", b"999.5",
    b"[]", b"{}", b"[-1]", b"[1000000000]", b'{"a": [1, {"b": null}]}', b"[" * DEEP, b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP, b'"' + b"x" * 1_000_000 + b'"', b"",
)  # fmt: skip
NUMBER, STRING = rb"-?\b\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", rb'"(?:[^"\\\n]|\\.)*"'
TOKEN = rb'"(?:[^"\\\n]|\\.)*"|[^\s,:=\[\]{}"]+'


def _replace(pattern: bytes) -> Damage:
    def damage(raw: bytes, dice: Dice) -> bytes:
        found = [match.span() for match in re.finditer(pattern, raw)]
        start, end = dice.choice(found) if found else _span(raw, dice)
        return raw[:start] + dice.choice(VALUES) + raw[end:]

    return damage


def fields(raw: bytes, dice: Dice) -> bytes:
    """Two words, numbers or strings change places: within a line, or with any other."""
    found = [match.span() for match in re.finditer(TOKEN, raw)]
    if len(found) < 2:
        return flip(raw, dice)
    k = dice.randrange(len(found) - 1)
    other = dice.choice((k + 1, min(k + 2, len(found) - 1), dice.randrange(len(found))))
    (a, b), (c, d) = sorted((found[k], found[other]))
    return raw[:a] + raw[c:d] + raw[b:c] + raw[a:b] + raw[d:]


def enormous_number(raw: bytes, dice: Dice) -> bytes:
    """A number that is one, of the right kind, and asks for more than there is."""
    found = [match.span() for match in re.finditer(rb"(?<![\w.])\d+\b(?![.])", raw)]
    if not found:
        return flip(raw, dice)
    start, end = dice.choice(found)
    return raw[:start] + str(dice.choice((10**9, 2**40, 2**62, 2**63 - 1))).encode() + raw[end:]


BYTES: dict[str, Damage] = {
    "flipped bits": flip, "cut short": cut, "block inserted": insert, "block deleted": delete,
    "block doubled": double, "blocks swapped": swap, "block filled": fill, "empty": empty,
}  # fmt: skip
TEXT: dict[str, Damage] = BYTES | {
    "number replaced": _replace(NUMBER), "string replaced": _replace(STRING), "word replaced": _replace(TOKEN),
    "enormous number": enormous_number, "fields swapped": fields, "not UTF-8": not_text, "byte order mark": bom,
}  # fmt: skip


def _header(change: Callable[[bytes, Dice], bytes]) -> Damage:
    """`change` the JSON header of a safetensors file, and say its new length in front of it."""

    def damage(raw: bytes, dice: Dice) -> bytes:
        length = struct.unpack("<Q", raw[:8])[0]
        header = change(raw[8 : 8 + length], dice)
        header += b" " * (-len(header) % 8)
        return struct.pack("<Q", len(header)) + header + raw[8 + length :]

    return damage


def header_size(raw: bytes, dice: Dice) -> bytes:
    size = dice.choice((0, 1, len(raw), 99_999_999, 2**31, 2**40, 2**63, 2**64 - 1, dice.randrange(2**64)))
    return struct.pack("<Q", size) + raw[8:]


def _meant(change: Callable[[dict[str, Any], Dice], None]) -> Damage:
    """A header that is good JSON and says something else."""

    def damage(header: bytes, dice: Dice) -> bytes:
        plain = json.loads(header)
        while plain == json.loads(header):
            change(plain, dice)
        return json.dumps(plain, ensure_ascii=False).encode()

    return _header(damage)


def _tensor(plain: dict[str, Any], dice: Dice) -> dict[str, Any]:
    return plain[dice.choice(sorted(set(plain) - {"__metadata__"}))]


def enormous(plain: dict[str, Any], dice: Dice) -> None:
    tensor = _tensor(plain, dice)
    match dice.randrange(4):
        case 0:
            tensor["shape"] = [dice.choice((2**62, 2**40, 2**31, 10**12)), *tensor["shape"][1:]]
        case 1:
            tensor["shape"] = [2**32] * 4
        case 2:
            tensor["data_offsets"][1] = dice.choice((2**63, 2**40, 2**64 - 1))
        case _:
            tensor["shape"] = [1] * 5000


def other_type(plain: dict[str, Any], dice: Dice) -> None:
    tensor = _tensor(plain, dice)
    tensor["dtype"] = dice.choice(("F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "X", ""))


def renamed(plain: dict[str, Any], dice: Dice) -> None:
    name = dice.choice(sorted(set(plain) - {"__metadata__"}))
    plain[dice.choice(("", "x", name + "x", "../" + name, name.upper()))] = plain.pop(name)


def exchanged(plain: dict[str, Any], dice: Dice) -> None:
    a, b = dice.sample(sorted(set(plain) - {"__metadata__"}), 2)
    plain[a], plain[b] = plain[b], plain[a]


def metadata(plain: dict[str, Any], dice: Dice) -> None:
    held = plain.get("__metadata__", {})
    if not held or dice.random() < 0.2:
        plain["__metadata__"] = dice.choice((None, {}, [], {"kind": "x"}, {"kind": 3}, {"format": "pt"}))
        return
    name = dice.choice(sorted(held))
    match dice.randrange(3):
        case 0:
            del held[name]
        case 1:
            held[name] = dice.choice((held[name][:-1], held[name] + " ", "", "{}", "[]", "null", "[" * 10_000))
        case _:
            inside = _replace(dice.choice((NUMBER, STRING)))(held[name].encode(), dice)
            held[name] = inside.decode("utf-8", "replace")


TENSORS: dict[str, Damage] = BYTES | {
    "header's size": header_size, "enormous tensor": _meant(enormous), "tensor of another type": _meant(other_type),
    "tensor renamed": _meant(renamed), "tensors exchanged": _meant(exchanged), "metadata changed": _meant(metadata),
    "number in the header": _header(_replace(NUMBER)), "string in the header": _header(_replace(STRING)),
    "words in the header": _header(fields), "header not UTF-8": _header(not_text),
}  # fmt: skip


def _forged(change: Callable[[dict[str, Tensor], dict[str, Any], Dice], None]) -> Damage:
    """Lies under a digest that fits them: it tells of damage, and not who wrote the file."""

    def damage(raw: bytes, dice: Dice) -> bytes:
        held = load(raw)
        metadata = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"]
        header = json.loads(metadata["header"])
        change(held, header, dice)
        text = json.dumps(header)
        return save(held, metadata | {"header": text, "blake2b": file_digest(text, tensors.digest(held))})

    return damage


LIES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**40, 2**70, 1e999, -1e999, float("nan"),
    "", "x", "x" * 100_000, [], [-1], [2**40], {}, {"a": 1},
)  # fmt: skip


def header_lies(held: dict[str, Tensor], header: dict[str, Any], dice: Dice) -> None:
    """One value of the header, or of something in it, is another."""
    place: Any = header
    while True:
        key = dice.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or dice.random() < 0.1:
            break
        place = place[key]
    if isinstance(place, dict) and dice.random() < 0.2:
        del place[key]
    else:
        place[key] = dice.choice(LIES)


def tensor_lies(held: dict[str, Tensor], header: dict[str, Any], dice: Dice) -> None:
    name = dice.choice(sorted(held))
    tensor = held.pop(name)
    match dice.randrange(9):
        case 0:
            return  # lost
        case 1:
            name = dice.choice((f"{name}.x", "x", "", "optimizer", name.upper()))
        case 2:
            tensor = tensor.flatten()
        case 3:
            tensor = tensor[None].contiguous()
        case 4:
            tensor = tensor.flatten()[: dice.choice((0, 1))]
        case 5:
            tensor = tensor.to(dice.choice((torch.bool, torch.int8, torch.int64, torch.float64, torch.bfloat16)))
        case 6 if tensor.is_floating_point():
            tensor = torch.full_like(tensor, dice.choice((float("nan"), float("inf"), torch.finfo(tensor.dtype).max)))
        case 7:
            tensor = tensor.flip(0).contiguous() if tensor.ndim else tensor + 1
        case _:
            tensor = -tensor if tensor.dtype != torch.bool else ~tensor
    held[name] = tensor


FORGED: dict[str, Damage] = {"header forged": _forged(header_lies), "tensor forged": _forged(tensor_lies)}


def inside(unpack: Callable[[bytes], bytes], pack: Callable[[bytes], bytes]) -> dict[str, Damage]:
    """Damage to what is packed, besides that to the packing."""

    def around(change: Damage) -> Damage:
        return lambda raw, dice: pack(change(unpack(raw), dice))

    return BYTES | {f"inside: {name}": around(change) for name, change in TEXT.items()}


# What stands where a file should, as the system has it.
MISSING = "a link to nothing"  # as good as no file: a cache is made anew
PLACES: dict[str, Callable[[Path], None]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "without an end": lambda path: path.symlink_to("/dev/zero"),
    MISSING: lambda path: path.symlink_to("nowhere"),
}
