#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/gguf: small model files, whole ones and one for each field that has
broken a loader. Run without arguments; the same files come out each time.

A file named bad_ has one wrong value. Most must be refused, by the reader, the tokenizer or the
model; all must be survived. From these seeds the fuzzer finds its way past the header."""
import os
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
TYPES = {"f32": (0, 1, 4), "q8_0": (8, 32, 34), "q4_0": (2, 32, 18), "q4_k": (12, 256, 144),
         "q6_k": (14, 256, 210)}
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B",
        U64: "<Q", I64: "<q", F64: "<d"}
EMBD, HEADS, KV, FF = 32, 4, 2, 32
ONE_KEY = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)  # the start of a file of one key and no tensor


def text(s, n=None):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(raw) if n is None else n) + raw


def value(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        item, items, *count = v
        body = b"".join(value(item, x) for x in items)
        return struct.pack("<IQ", item, count[0] if count else len(items)) + body
    return struct.pack(PACK[kind], v)


def tensor_bytes(kind, dims):
    _, block, size = TYPES[kind]
    n = 1
    for d in dims:
        n *= d
    return n // block * size


def build(keys, tensors, version=3, magic=b"GGUF", n_kv=None, n_tensors=None, align=32,
          offsets=None):
    """keys: (name, kind, value); tensors: (name, type, dims[, number of the type])"""
    out = magic + struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors,
                              len(keys) if n_kv is None else n_kv)
    for name, kind, v in keys:
        out += text(name) + struct.pack("<I", kind) + value(kind, v)
    data = b""
    for i, (name, kind, dims, *number) in enumerate(tensors):
        at = offsets[i] if offsets and i in offsets else len(data)
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack("<%dQ" % len(dims), *dims)
        out += struct.pack("<IQ", number[0] if number else TYPES[kind][0], at)
        n = min(tensor_bytes(kind, dims), 1 << 16)
        data += b"\0\x3c" * (n // 2) + b"\0" * (-n % align)
    return out + b"\0" * (-len(out) % align) + data


def tensors(arch, kind="q8_0", layers=1, vocab=None):
    out = [("token_embd.weight", kind, (EMBD, vocab)), ("output_norm.weight", "f32", (EMBD,))]
    for i in range(layers):
        for name, dims in (("attn_norm", (EMBD,)), ("ffn_norm", (EMBD,)), ("attn_q", (EMBD, EMBD)),
                           ("attn_k", (EMBD, EMBD // 2)), ("attn_v", (EMBD, EMBD // 2)),
                           ("attn_output", (EMBD, EMBD)), ("ffn_gate", (EMBD, FF)),
                           ("ffn_up", (EMBD, FF)), ("ffn_down", (FF, EMBD))):
            out.append(("blk.%d.%s.weight" % (i, name), kind if len(dims) == 2 else "f32", dims))
        if arch == "qwen3":
            out += [("blk.%d.attn_%s_norm.weight" % (i, x), "f32", (EMBD // HEADS,)) for x in "qk"]
        if arch == "qwen2":
            out += [("blk.%d.attn_%s.bias" % (i, x), "f32", (n,))
                    for x, n in (("q", EMBD), ("k", EMBD // 2), ("v", EMBD // 2))]
    return out


def params(arch):
    numbers = {"block_count": 1, "context_length": 64, "embedding_length": EMBD,
               "feed_forward_length": FF, "attention.head_count": HEADS,
               "attention.head_count_kv": KV}
    return ([("general.architecture", STRING, arch)] +
            [("%s.%s" % (arch, k), U32, v) for k, v in numbers.items()] +
            [(arch + ".attention.layer_norm_rms_epsilon", F32, 1e-5)])


CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def spm(n_bytes=256):
    """Few byte tokens keep a seed small where the whole alphabet is not the point."""
    tokens = (["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(n_bytes)] +
              ["\u2581", "H", "e", "l", "o", "w", "\u2581w", "ll", "He", "Hell", "Hello"])
    n = len(tokens)
    return [("tokenizer.ggml.model", STRING, "llama"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
            ("tokenizer.ggml.scores", ARRAY, (F32, [-float(i) for i in range(n)])),
            ("tokenizer.ggml.token_type", ARRAY,
             (I32, [2, 3, 3] + [6] * n_bytes + [1] * (n - 3 - n_bytes))),
            ("tokenizer.ggml.bos_token_id", U32, 1), ("tokenizer.ggml.eos_token_id", U32, 2),
            ("tokenizer.ggml.unknown_token_id", U32, 0), ("tokenizer.ggml.add_bos_token", BOOL, 1),
            ("tokenizer.chat_template", STRING, CHATML)], n


def bpe(pre):
    prints = [b for b in range(256) if 0x21 <= b <= 0x7e or (b >= 0xa1 and b != 0xad)]
    rest = [chr(0x100 + i) for i in range(256 - len(prints))]
    merges = ["H e", "l l", "He ll", "Hell o", "\u0120 w"]
    tokens = [chr(b) for b in prints] + rest + [m.replace(" ", "") for m in merges] + ["<|im_end|>"]
    n = len(tokens)
    return [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, pre),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
            ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * (n - 1) + [3])),
            ("tokenizer.ggml.merges", ARRAY, (STRING, merges)),
            ("tokenizer.ggml.eos_token_id", U32, n - 1),
            ("tokenizer.chat_template", STRING, CHATML)], n


def swap(keys, name, kind, v):
    assert any(k[0] == name for k in keys), name
    return [(name, kind, v) if k[0] == name else k for k in keys]


def good():
    for arch in ("llama", "qwen2", "qwen3"):
        vocab, n = spm() if arch == "llama" else bpe("qwen2")
        yield "good_" + arch, build(params(arch) + vocab, tensors(arch, "q4_0", vocab=n))
    for pre in ("gpt-2", "llama-bpe"):
        head = [("general.architecture", STRING, "gpt2")]
        yield "good_vocab_" + pre, build(head + bpe(pre)[0], [])
    vocab, n = spm(4)
    yield "good_version_2", build(params("llama") + vocab, tensors("llama", "q4_0", vocab=n), 2)
    yield "good_align_64", build(params("llama") + [("general.alignment", U32, 64)] + vocab,
                                 tensors("llama", "q4_0", vocab=n), align=64)
    scaled = params("llama") + [("llama.rope.scaling.type", STRING, "yarn"),
                                ("llama.rope.scaling.factor", F32, 4.0),
                                ("llama.rope.dimension_count", U32, 4)]
    yield "good_yarn", build(scaled + vocab, tensors("llama", "q4_0", vocab=n) +
                             [("rope_freqs.weight", "f32", (2,))])
    kinds = [("k%d" % k, k, 1) for k in PACK] + [("s", STRING, b"\0\xff\x1b[2J")]
    kinds += [("a%d" % k, ARRAY, (k, [0, 1, 1])) for k in PACK]
    kinds += [("as", ARRAY, (STRING, ["", "x"]))]
    yield "good_every_kind", build(kinds, [])


def bad_directory():
    one = [("t", "q8_0", (32, 2))]
    big = 2 ** 64 - 1
    yield "4_bytes", b"GGUF"
    yield "empty", b""
    yield "magic", build([], [], magic=b"GGML")
    yield "version_1", build([], [], version=1)
    yield "big_endian", build([], [], version=0x03000000)
    for name, n in (("huge", big), ("many", 60000), ("sign", 2 ** 63)):
        yield "n_kv_" + name, build([], [], n_kv=n)
        yield "n_tensors_" + name, build([], [], n_tensors=n)
    for name, n in (("huge", big), ("past_end", 1000), ("wraps", big - 7)):
        yield "key_length_" + name, ONE_KEY + text("k", n) + b"\0" * 16
        yield "string_length_" + name, (ONE_KEY + text("k") + struct.pack("<I", STRING) +
                                        text("v", n) + b"\0" * 16)
        yield "array_count_" + name, build([("a", ARRAY, (U32, [1, 2, 3], n))], [])
        yield "array_strings_" + name, build([("a", ARRAY, (STRING, ["x", "y"], n))], [])
    yield "array_of_arrays", build([("a", ARRAY, (U8, [1]))], []).replace(
        struct.pack("<IIQ", ARRAY, U8, 1), struct.pack("<IIQ", ARRAY, ARRAY, 1))
    yield "value_type", ONE_KEY + text("k") + struct.pack("<IQ", 99, 0)
    yield "bool_2", build([("a", BOOL, 2)], [])
    yield "key_twice", build([("a", U8, 1), ("a", U8, 2)], [])
    yield "key_empty", build([("", U8, 1)], [])
    for n in (0, 1, 3, 48, 2 ** 31):
        yield "alignment_%d" % n, build([("general.alignment", U32, n)], one)
    yield "alignment_text", build([("general.alignment", STRING, "32")], one)
    for name, dims in (("zero", (0, 2)), ("product", (2 ** 32, 2 ** 32)), ("bytes", (2 ** 62,)),
                       ("block", (33, 2)), ("five", (32, 1, 1, 1, 1)), ("none", ())):
        yield "dims_" + name, (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("t") +
                               struct.pack("<I%dQ" % len(dims), len(dims), *dims) +
                               struct.pack("<IQ", 0 if name == "bytes" else 8, 0) + b"\0" * 200)
    for name, at in (("end", 1 << 20), ("wraps", big - 31), ("unaligned", 1)):
        yield "offset_" + name, build([], one, offsets={0: at})
    for n in (3, 31, 99, 2 ** 32 - 1):
        yield "type_%d" % n, build([], [("t", "q8_0", (32, 2), n)])
    yield "tensor_twice", build([], one + one)
    yield "truncated", build([], one)[:-40]


def bad_model():
    vocab, n = spm(4)
    whole = params("llama") + vocab
    t = tensors("llama", "q4_0", vocab=n)
    for key, wrong in (("block_count", (2, 2 ** 32 - 1)), ("attention.head_count", (0, 3)),
                       ("attention.head_count_kv", (3,)), ("embedding_length", (2 ** 31,)),
                       ("feed_forward_length", (33,))):
        for w in wrong:
            yield ("%s_%d" % (key.replace("attention.", ""), w),
                   build(swap(whole, "llama." + key, U32, w), t))
    for kind in ("f32", "q4_0"):
        yield "norm_" + kind, build(whole, [x if x[0] != "output_norm.weight" else
                                            (x[0], kind, (EMBD * 2,)) for x in t])
    yield "rows", build(whole, tensors("llama", "q4_0", vocab=n - 1))
    yield "missing", build(whole, [x for x in t if x[0] != "blk.0.ffn_up.weight"])
    yield "extra", build(whole, t + [("blk.0.x.weight", "f32", (1,))])
    yield "experts", build(whole + [("llama.expert_count", U32, 8)], t)
    yield "arch", build(swap(whole, "general.architecture", STRING, b"\0\x1b]0;x\7"), t)


def one_vocab(vocab, key, kind, v):
    """A file with nothing but a vocabulary in which one key is wrong."""
    return build([("general.architecture", STRING, "llama")] +
                 swap(vocab, "tokenizer." + key, kind, v), [])


def bad_vocab():
    vocab, n = spm(4)
    for key in ("bos", "eos", "unknown"):
        for w in (n, 2 ** 32 - 1):
            yield "%s_%d" % (key, w), one_vocab(vocab, "ggml.%s_token_id" % key, U32, w)
    tokens = next(v for k, _, v in vocab if k == "tokenizer.ggml.tokens")[1]
    for name, token in (("negative", "<0x-1>"), ("long", "<0x100>"), ("letters", "<0xZZ>"),
                        ("empty", ""), ("twice", "<0x01>"), ("zero", b"\0")):
        changed = tokens[:3] + [token] + tokens[4:]
        yield "byte_" + name, one_vocab(vocab, "ggml.tokens", ARRAY, (STRING, changed))
    for name, key, items in (("scores_short", "scores", (F32, [0.0])),
                             ("scores_nan", "scores", (F32, [float("nan")] * n)),
                             ("types_short", "token_type", (I32, [1])),
                             ("types_kind", "token_type", (STRING, ["1"] * n)),
                             ("tokens_none", "tokens", (STRING, [])),
                             ("tokens_numbers", "tokens", (U8, [1] * n))):
        yield name, one_vocab(vocab, "ggml." + key, ARRAY, items)
    yield "model", one_vocab(vocab, "ggml.model", STRING, "bert")
    for name, s in (("executes", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
                    ("imports", "{% import 'os' as os %}{{ os.system('true') }}"),
                    ("loops", "{% for i in range(10**9) %}{% endfor %}"),
                    ("binary", b"\0\xff\xfe<|im_start|>\x1b[2J")):
        yield "template_" + name, one_vocab(vocab, "chat_template", STRING, s)
    vocab, n = bpe("llama-bpe")
    for name, merge in (("no_space", "ab"), ("unknown", "x yz"), ("empty", " "),
                        ("zero", b"\0 \0")):
        yield "merge_" + name, one_vocab(vocab, "ggml.merges", ARRAY, (STRING, [merge]))
    yield "pre", one_vocab(vocab, "ggml.pre", STRING, "nobody")


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf")
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        os.remove(os.path.join(folder, old))
    for prefix, cases in (("", good()), ("bad_", bad_directory()), ("bad_model_", bad_model()),
                          ("bad_vocab_", bad_vocab())):
        for name, data in cases:
            with open(os.path.join(folder, prefix + name), "wb") as f:
                f.write(data)


if __name__ == "__main__":
    main()
