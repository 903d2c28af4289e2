#!/usr/bin/env python3
"""Writes quant_vectors.h: random blocks of each quantized type and the values they mean.

The values come from an interpreter of the formats that shares nothing with the C code: it asks for
one value at a time, by index, with Python integers and exact fractions, and rounds once at the end.
Run it in this folder; the output is committed beside it.
"""
import random
import struct
from fractions import Fraction

import numpy as np

N_BLOCKS = 2


def f16(two_bytes):
    return Fraction(struct.unpack("<e", two_bytes)[0])


def nibble(data, i, high):
    return data[i] // 16 if high else data[i] % 16


def k_scale_min(packed, g):
    """6-bit scale and minimum of group g out of 12 bytes."""
    if g < 4:
        return packed[g] % 64, packed[g + 4] % 64
    scale = packed[g + 4] % 16 + 16 * (packed[g - 4] // 64)
    minimum = packed[g + 4] // 16 + 16 * (packed[g] // 64)
    return scale, minimum


def q8_0(b, i):
    return f16(b[0:2]) * struct.unpack_from("b", b, 2 + i)[0]


def q4_0(b, i):
    return f16(b[0:2]) * (nibble(b[2:], i % 16, i >= 16) - 8)


def q4_k(b, i):
    g = i // 32
    scale, minimum = k_scale_min(b[4:16], g)
    q = nibble(b[16:], g // 2 * 32 + i % 32, g % 2 == 1)
    return f16(b[0:2]) * scale * q - f16(b[2:4]) * minimum


def q5_k(b, i):
    g = i // 32
    scale, minimum = k_scale_min(b[4:16], g)
    q = nibble(b[48:], g // 2 * 32 + i % 32, g % 2 == 1) + 16 * (b[16 + i % 32] // 2**g % 2)
    return f16(b[0:2]) * scale * q - f16(b[2:4]) * minimum


def q6_k(b, i):
    half, rest = divmod(i, 128)
    quarter, at = divmod(rest, 32)
    low = nibble(b, 64 * half + 32 * (quarter % 2) + at, quarter >= 2)
    high = b[128 + 32 * half + at] // 4**quarter % 4
    scale = struct.unpack_from("b", b, 192 + i // 16)[0]
    return f16(b[208:210]) * scale * (low + 16 * high - 32)


# name: (values, bytes, offsets of f16 scales, value of index)
FORMATS = {
    "Q8_0": (32, 34, [0], q8_0),
    "Q4_0": (32, 18, [0], q4_0),
    "Q4_K": (256, 144, [0, 2], q4_k),
    "Q5_K": (256, 176, [0, 2], q5_k),
    "Q6_K": (256, 210, [208], q6_k),
}


def random_block(rng, n_bytes, scale_offsets):
    block = bytearray(rng.getrandbits(8) for _ in range(n_bytes))
    for offset in scale_offsets:
        struct.pack_into("<e", block, offset, rng.uniform(-0.02, 0.02))
    return bytes(block)


def rows(items, per_line):
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    return ",\n".join("    " + line for line in lines)


def main():
    rng = random.Random(20)
    title = "quant_vectors.h - made by make_quant.py: blocks, and the bits of their values."
    out = [f"/* {title} */", ""]
    for name, (n, n_bytes, scales, value) in FORMATS.items():
        blocks = [random_block(rng, n_bytes, scales) for _ in range(N_BLOCKS)]
        # float64 holds every one of these values exactly, so float32 is the only rounding
        exact = [value(b, i) for b in blocks for i in range(n)]
        assert all(Fraction(float(v)) == v for v in exact)
        bits = np.array([float(v) for v in exact], dtype=np.float32) + np.float32(0)  # no -0
        data = ["0x%02x" % byte for block in blocks for byte in block]
        want = ["0x%08x" % word for word in bits.view(np.uint32)]
        out += [f"static const uint8_t blocks_{name}[] = {{", rows(data, 16), "};"]
        out += [f"static const uint32_t values_{name}[] = {{", rows(want, 8), "};", ""]
    with open("quant_vectors.h", "w") as f:
        f.write("\n".join(out[:-1]) + "\n")


main()
