#!/usr/bin/python3
"""Makes the golden models and what they must compute.

    python3 tests/golden/make.py        (Debian's python3-numpy; writes beside itself)

Each NAME.gguf is a tiny model with random weights, each NAME.expect the logits of a prompt and the
greedy tokens after it, computed here in float64 from the bytes of the file's own blocks. Nothing is
shared with the C code: own GGUF writer, own dequantization (from the description of the block
formats), own transformer (from the papers). The one thing imitated is the f16 rounding of cached
keys and values, and, in one of two runs, the rounding of the inputs of products with quantized
weights to 8 bits (engine/ops.h defines it), so that the bounds of the comparison can be tight. The
other run has exact inputs, and shows what that rounding costs.

Quantized weights are not made by quantizing: random bytes with plausible scales are valid blocks,
and reach every bit of a format.

NAME.expect, little endian: i32 n_prompt, n_generated, n_vocab; i32 prompt[n_prompt];
i32 generated[n_generated]; f32 logits[n_prompt, n_vocab] with rounded inputs, and with exact ones.
"""
import os
import struct

import numpy as np

F32, F16, Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, BF16 = 0, 1, 2, 8, 12, 13, 14, 30
N_VOCAB, N_PROMPT, N_GENERATED = 272, 40, 12
MIN_MARGIN = 0.02  # of max |logit|: greedy tokens must not hang on the last digits


# ---- weights: (bytes of the file, float64 values) ------------------------------------------------

def f16_of(x):
    return np.asarray(x, np.float16)


def sub_block_bits(scales, mins):
    """Eight 6-bit scales and mins of a Q4_K or Q5_K block in 12 bytes."""
    out = np.zeros(12, np.uint8)
    for j in range(4):
        out[j] = scales[j] | (scales[j + 4] >> 4) << 6
        out[j + 4] = mins[j] | (mins[j + 4] >> 4) << 6
        out[j + 8] = (scales[j + 4] & 15) | (mins[j + 4] & 15) << 4
    return out


def block_q8_0(rng, std):
    d = f16_of(std / 74 * rng.uniform(0.8, 1.2))
    q = rng.integers(-127, 128, 32)
    return d.tobytes() + q.astype(np.int8).tobytes(), float(d) * q


def block_q4_0(rng, std):
    d = f16_of(std / 4.6 * rng.uniform(0.8, 1.2))
    byte = rng.integers(0, 256, 16)
    q = np.concatenate([byte & 15, byte >> 4]) - 8
    return d.tobytes() + byte.astype(np.uint8).tobytes(), float(d) * q


def scales_and_mins(rng, std, half_range):
    scales = rng.integers(16, 64, 8)
    mins = np.clip(scales + rng.integers(-3, 4, 8), 0, 63)  # near zero mean, yet not the same bits
    d = f16_of(std / (40 * 0.58 * half_range) * rng.uniform(0.8, 1.2))
    dmin = f16_of(float(d) * half_range)
    return scales, mins, d, dmin


def block_q4_k(rng, std):
    scales, mins, d, dmin = scales_and_mins(rng, std, 7.5)
    byte = rng.integers(0, 256, (4, 32))
    q = np.stack([byte & 15, byte >> 4], 1).reshape(8, 32)
    values = float(d) * scales[:, None] * q - float(dmin) * mins[:, None]
    raw = d.tobytes() + dmin.tobytes() + sub_block_bits(scales, mins).tobytes()
    return raw + byte.astype(np.uint8).tobytes(), values.reshape(256)


def block_q5_k(rng, std):
    scales, mins, d, dmin = scales_and_mins(rng, std, 15.5)
    byte, high = rng.integers(0, 256, (4, 32)), rng.integers(0, 256, 32)
    q = np.stack([byte & 15, byte >> 4], 1).reshape(8, 32)
    q = q + 16 * np.stack([high >> i & 1 for i in range(8)])
    values = float(d) * scales[:, None] * q - float(dmin) * mins[:, None]
    raw = d.tobytes() + dmin.tobytes() + sub_block_bits(scales, mins).tobytes()
    return (raw + high.astype(np.uint8).tobytes() + byte.astype(np.uint8).tobytes(),
            values.reshape(256))


def block_q6_k(rng, std):
    d = f16_of(std / (64 * 18.5) * rng.uniform(0.8, 1.2))
    scales = rng.integers(-127, 128, 16)
    low, high = rng.integers(0, 256, (2, 64)), rng.integers(0, 256, (2, 32))
    q = np.zeros((2, 4, 32), np.int64)
    for half in range(2):
        for quarter in range(4):
            nibble = low[half, 32 * (quarter % 2):][:32] >> 4 * (quarter // 2) & 15
            q[half, quarter] = (nibble | (high[half] >> 2 * quarter & 3) << 4) - 32
    values = float(d) * np.repeat(scales, 16) * q.reshape(256)
    raw = low.astype(np.uint8).tobytes() + high.astype(np.uint8).tobytes()
    return raw + scales.astype(np.int8).tobytes() + d.tobytes(), values


BLOCKS = {Q8_0: (32, block_q8_0), Q4_0: (32, block_q4_0), Q4_K: (256, block_q4_k),
          Q5_K: (256, block_q5_k), Q6_K: (256, block_q6_k)}


def weights(rng, kind, shape, std, mean=0.0):
    if kind in BLOCKS:
        size, make = BLOCKS[kind]
        assert shape[-1] % size == 0
        made = [make(rng, std) for _ in range(int(np.prod(shape)) // size)]
        return b"".join(m[0] for m in made), np.concatenate([m[1] for m in made]).reshape(shape)
    x = rng.normal(mean, std, shape).astype(np.float32)
    if kind == F16:
        return x.astype(np.float16).tobytes(), x.astype(np.float16).astype(np.float64)
    if kind == BF16:
        top = (x.view(np.uint32) >> 16).astype(np.uint16)
        return top.tobytes(), (top.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return x.tobytes(), x.astype(np.float64)


# ---- file ----------------------------------------------------------------------------------------

def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    """(kind, bytes) of a metadata value; a float is f32, an int u32."""
    if isinstance(v, str):
        return 8, text(v)
    if isinstance(v, bool):
        return 7, struct.pack("<B", v)
    if isinstance(v, int):
        return 4, struct.pack("<I", v)
    if isinstance(v, float):
        return 6, struct.pack("<f", v)
    items = [value(i) for i in v]
    kind = items[0][0]
    if kind == 4:  # token types are i32
        kind = 5
    return 9, struct.pack("<IQ", kind, len(v)) + b"".join(i[1] for i in items)


def write_gguf(path, keys, tensors):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for k, v in keys.items():
        kind, raw = value(v)
        head += text(k) + struct.pack("<I", kind) + raw
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", d) for d in reversed(shape))
        head += struct.pack("<IQ", kind, len(data))
        data += raw + bytes(-len(raw) % 32)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32) + data)


def vocabulary():
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)] + ["\u2581"]
    tokens += list("abcdefghijkl")
    types = [2, 3, 3] + [6] * 256 + [1] * 13
    assert len(tokens) == len(types) == N_VOCAB
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [0.0] * 259 + [-float(i) for i in range(13)],
            "tokenizer.ggml.token_type": types, "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0}


# ---- transformer ---------------------------------------------------------------------------------

def rms_norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def rope_speeds(m):
    """Radians per position of each pair, and the factor of cos and sin."""
    n, base = m["n_rot"], float(np.float32(m["rope_base"]))
    speed = base ** (-2.0 * np.arange(n // 2) / n)
    scaling, factor = m.get("scaling"), float(np.float32(m.get("factor", 1.0)))
    if "rope_freqs" in m["w"]:
        speed = speed / m["w"]["rope_freqs"]
    if scaling == "linear":
        speed = speed / factor
    if scaling == "yarn":
        turns = lambda t: n * np.log(m["orig_ctx"] / (t * 2 * np.pi)) / (2 * np.log(base))
        low, high = max(np.floor(turns(32.0)), 0), min(np.ceil(turns(1.0)), n - 1)
        slowed = np.clip((np.arange(n // 2) - low) / max(high - low, 0.001), 0, 1)
        speed = speed / factor * slowed + speed * (1 - slowed)
        return speed, 1 + 0.1 * np.log(factor)
    return speed, 1.0


def rotate(x, pos, m):
    """x [n_head, d_head] at one position."""
    speed, factor = rope_speeds(m)
    c, s, n = np.cos(pos * speed) * factor, np.sin(pos * speed) * factor, m["n_rot"]
    a, b = (slice(0, n // 2), slice(n // 2, n)) if m["neox"] else (slice(0, n, 2), slice(1, n, 2))
    y = x.copy()
    y[:, a], y[:, b] = x[:, a] * c - x[:, b] * s, x[:, a] * s + x[:, b] * c
    return y


def as_cached(x):
    return x.astype(np.float32).astype(np.float16).astype(np.float64)


def as_8_bits(x):
    blocks = x.astype(np.float32).reshape(-1, 32)
    most = np.abs(blocks).max(-1, keepdims=True)
    q = np.rint(blocks * (np.float32(127) / most))
    return ((most / np.float32(127)).astype(np.float64) * q).reshape(x.shape)


def product(m, name, x, rounds):
    return m["w"][name] @ (as_8_bits(x) if rounds and m["kind_of"][name] in BLOCKS else x)


def one_token(m, cache, token, pos, rounds):
    w, d, eps = m["w"], m["d_head"], float(np.float32(m["eps"]))
    group = m["n_head"] // m["n_kv_head"]
    x = w["token_embd.weight"][token]
    for layer in range(m["n_layer"]):
        full = lambda name: "blk.%d.%s" % (layer, name)
        get = lambda name: w.get(full(name), 0.0)
        times = lambda name, x: product(m, full(name + ".weight"), x, rounds)
        h = rms_norm(x, get("attn_norm.weight"), eps)
        q, k, v = ((times("attn_" + c, h) + get("attn_%s.bias" % c)).reshape(-1, d) for c in "qkv")
        if m["arch"] == "qwen3":
            q = rms_norm(q, get("attn_q_norm.weight"), eps)
            k = rms_norm(k, get("attn_k_norm.weight"), eps)
        keys, values = cache[layer]
        keys.append(as_cached(rotate(k, pos, m)))
        values.append(as_cached(v))
        q = rotate(q, pos, m)
        out = np.zeros_like(q)
        for head in range(m["n_head"]):
            past_k = np.stack(keys)[:, head // group]
            past_v = np.stack(values)[:, head // group]
            score = past_k @ q[head] / np.sqrt(d)
            p = np.exp(score - score.max())
            out[head] = p @ past_v / p.sum()
        x = x + times("attn_output", out.reshape(-1))
        h = rms_norm(x, get("ffn_norm.weight"), eps)
        gate = times("ffn_gate", h)
        x = x + times("ffn_down", gate / (1 + np.exp(-gate)) * times("ffn_up", h))
    head = "output.weight" if "output.weight" in w else "token_embd.weight"
    return product(m, head, rms_norm(x, w["output_norm.weight"], eps), rounds)


def run(m, prompt, rounds):
    """Logits of the prompt, greedy tokens, smallest lead of a greedy token in max |logit|."""
    cache = [([], []) for _ in range(m["n_layer"])]
    logits = [one_token(m, cache, t, i, rounds) for i, t in enumerate(prompt)]
    generated, lead, row = [], 1.0, logits[-1]
    for i in range(N_GENERATED):
        order = np.argsort(-row, kind="stable")
        lead = min(lead, (row[order[0]] - row[order[1]]) / np.abs(row).max())
        generated.append(int(order[0]))
        row = one_token(m, cache, generated[-1], len(prompt) + i, rounds)
    return np.array(logits), generated, lead


# ---- models --------------------------------------------------------------------------------------

BASE = dict(arch="llama", kind=F16, n_embd=64, n_ff=96, n_layer=2, n_head=4, n_kv_head=2, d_head=16,
            tied=True, eps=1e-5, rope_base=10000.0)
MODELS = {
    "llama_f32": dict(kind=F32, tied=False, n_embd=48, d_head=12),
    "llama3_bf16": dict(kind=BF16, rope_base=500000.0, freqs=True, n_kv_head=1),
    "llama_linear_q8_0": dict(kind=Q8_0, scaling="linear", factor=4.0, n_head=2, n_kv_head=2,
                              d_head=32),
    "llama_yarn_q4_0": dict(kind=Q4_0, scaling="yarn", factor=8.0, orig_ctx=256, d_head=32),
    "llama_partial_f16": dict(n_rot=8, d_head=24, tied=False),
    "qwen2_f16": dict(arch="qwen2", eps=1e-6, rope_base=1e6),
    "qwen3_q8_0": dict(arch="qwen3", kind=Q8_0, eps=1e-6, rope_base=1e6, d_head=32, n_ff=128),
    "llama_k_quants": dict(kind=Q4_K, n_embd=256, n_ff=256, n_head=4, d_head=64,
                           kinds={"attn_v": Q6_K, "ffn_down": Q5_K, "attn_output": Q5_K,
                                  "token_embd": Q6_K}),
}


def build(name, seed):
    m = dict(BASE, **MODELS[name])
    m.setdefault("n_rot", m["d_head"])
    m["neox"] = m["arch"] != "llama"
    rng = np.random.default_rng([seed, list(MODELS).index(name)])
    m["w"], m["kind_of"], tensors = {}, {}, {}

    def add(tensor, shape, std, mean=0.0, matrix=True):
        kind = m.get("kinds", {}).get(tensor.split(".")[-2], m["kind"]) if matrix else F32
        raw, m["w"][tensor] = weights(rng, kind, shape, std, mean)
        tensors[tensor] = (kind, shape, raw)
        m["kind_of"][tensor] = kind

    d, ff = m["n_embd"], m["n_ff"]
    n_q, n_kv = m["n_head"] * m["d_head"], m["n_kv_head"] * m["d_head"]
    # Tied: small, or the layers could not talk the head out of repeating its input.
    add("token_embd.weight", (N_VOCAB, d), 0.15 if m["tied"] else 1.0)
    add("output_norm.weight", (d,), 0.2, 1.0, matrix=False)
    if not m["tied"]:
        add("output.weight", (N_VOCAB, d), 1.0)
    if m.get("freqs"):  # fast pairs as they are, slow ones up to 8 times slower: Llama 3.1's shape
        raw = np.geomspace(1, 8, m["n_rot"] // 2).astype(np.float32)
        m["w"]["rope_freqs"] = raw.astype(np.float64)
        tensors["rope_freqs.weight"] = (F32, raw.shape, raw.tobytes())
    for i in range(m["n_layer"]):
        p = "blk.%d." % i
        add(p + "attn_norm.weight", (d,), 0.2, 1.0, matrix=False)
        add(p + "ffn_norm.weight", (d,), 0.2, 1.0, matrix=False)
        add(p + "attn_q.weight", (n_q, d), 1.5 * d ** -0.5)
        add(p + "attn_k.weight", (n_kv, d), 1.5 * d ** -0.5)
        add(p + "attn_v.weight", (n_kv, d), d ** -0.5)
        add(p + "attn_output.weight", (d, n_q), n_q ** -0.5)
        add(p + "ffn_gate.weight", (ff, d), d ** -0.5)
        add(p + "ffn_up.weight", (ff, d), d ** -0.5)
        add(p + "ffn_down.weight", (d, ff), ff ** -0.5)
        if m["arch"] == "qwen2":
            for c, n in (("q", n_q), ("k", n_kv), ("v", n_kv)):
                add(p + "attn_%s.bias" % c, (n,), 0.5, matrix=False)
        if m["arch"] == "qwen3":
            add(p + "attn_q_norm.weight", (m["d_head"],), 0.3, 1.0, matrix=False)
            add(p + "attn_k_norm.weight", (m["d_head"],), 0.3, 1.0, matrix=False)
    return m, tensors, [int(t) for t in rng.integers(3, N_VOCAB, N_PROMPT)]


def keys_of(name, m):
    a = m["arch"] + "."
    keys = {"general.architecture": m["arch"], "general.name": "golden " + name,
            a + "context_length": 256, a + "embedding_length": m["n_embd"],
            a + "block_count": m["n_layer"], a + "feed_forward_length": m["n_ff"],
            a + "attention.head_count": m["n_head"], a + "attention.head_count_kv": m["n_kv_head"],
            a + "attention.key_length": m["d_head"], a + "attention.value_length": m["d_head"],
            a + "rope.dimension_count": m["n_rot"], a + "rope.freq_base": m["rope_base"],
            a + "attention.layer_norm_rms_epsilon": m["eps"]}
    if "scaling" in m:
        keys[a + "rope.scaling.type"] = m["scaling"]
        keys[a + "rope.scaling.factor"] = m["factor"]
    if "orig_ctx" in m:
        keys[a + "rope.scaling.original_context_length"] = m["orig_ctx"]
    return {**keys, **vocabulary()}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    for name in MODELS:
        for seed in range(100):
            m, tensors, prompt = build(name, seed)
            logits, generated, lead = run(m, prompt, rounds=True)
            if lead >= MIN_MARGIN and len(set(generated)) > N_GENERATED // 3:
                break
        else:
            raise SystemExit(name + ": no seed gives well separated tokens")
        write_gguf(os.path.join(here, name + ".gguf"), keys_of(name, m), tensors)
        with open(os.path.join(here, name + ".expect"), "wb") as f:
            head = [len(prompt), len(generated), N_VOCAB]
            f.write(np.array(head + prompt + generated, "<i4").tobytes())
            f.write(logits.astype("<f4").tobytes())
            exact = run(m, prompt, rounds=False)[0]
            f.write(exact.astype("<f4").tobytes())
        size = os.path.getsize(os.path.join(here, name + ".gguf")) // 1024
        off = np.abs(logits - exact).max(-1) / np.abs(exact).max(-1)
        print("%-18s %4d KiB, seed %d, max |logit| %.1f, smallest lead %.3f, rounding %.4f of it" %
              (name, size, seed, np.abs(logits).max(), lead, off.max()))


if __name__ == "__main__":
    main()
