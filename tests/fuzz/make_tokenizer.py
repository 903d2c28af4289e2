#!/usr/bin/python3
"""Writes the seeds of fuzz_tokenizer: small vocabularies of both kinds, each with a text.

    tests/fuzz/make_tokenizer.py   # into tests/fuzz/corpus/tokenizer
"""
import pathlib
import struct

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TEXTS = ["Hello world, 1234 x=y;\n\n a  b", "<s>[INST] hi [/INST]</s>\u00e9\u4e2d\U0001f600",
         "aaaaabababab    \t\r\n'S 'll", "<|im_start|>a<u><u>"]


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def item(kind, value):
    if kind == STRING:
        return text(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def gguf(keys):
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    for name, kind, value in keys:
        if "." not in name:
            name = "tokenizer.ggml." + name
        out += text(name)
        if isinstance(value, list):
            out += struct.pack("<IIQ", ARRAY, kind, len(value))
            out += b"".join(item(kind, one) for one in value)
        else:
            out += struct.pack("<I", kind) + item(kind, value)
    return out


def llama(**options):
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    types = [2, 3, 3] + [6] * 256
    words = "\u2581 a b c ab ba aa \u2581a \u2581b \u00e9 \u2581\u2581 llo He".split() + ["<u>"]
    tokens, types = tokens + words, types + [1] * (len(words) - 1) + [4]
    scores = [0.0] * 259 + [-float(i % 5) for i in range(len(words))]
    keys = [("model", STRING, "llama"), ("tokens", STRING, tokens), ("scores", F32, scores),
            ("token_type", I32, types)]
    return gguf(keys + [(name, BOOL, value) for name, value in options.items()])


def gpt2(pre, template=None):
    prints = [b for b in range(256) if 0x20 < b < 0x7F or 0xA0 < b != 0xAD]
    rest = [b for b in range(256) if b not in prints]
    tokens = [chr(b) if b in prints else chr(256 + rest.index(b)) for b in range(256)]
    merges = ["a b", "a a", "\u0120 a", "ab ab", "q z", "qz q"]
    tokens += ["ab", "aa", "\u0120a", "abab", "<|im_start|>", "<|im_end|>", "<u>"]
    keys = [("model", STRING, "gpt2"), ("pre", STRING, pre), ("tokens", STRING, tokens),
            ("token_type", I32, [1] * 260 + [3, 3, 4]), ("merges", STRING, merges),
            ("eos_token_id", U32, 261)]
    if template:
        keys.append(("tokenizer.chat_template", STRING, template))
    return gguf(keys)


def main():
    folder = pathlib.Path(__file__).parent / "corpus" / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    files = {"llama": llama(), "llama-plain": llama(add_space_prefix=False, add_eos_token=True),
             "llama-squeeze": llama(remove_extra_whitespaces=True)}
    files.update({pre: gpt2(pre) for pre in ("default", "gpt-2", "llama-bpe", "qwen2", "smollm")})
    files["chatml"] = gpt2("qwen2", "{{'<|im_start|>' + message['role'] + '<|im_end|>'}}")
    for i, (name, data) in enumerate(files.items()):
        words = TEXTS[i % len(TEXTS)].encode() + b"\xff\xc3"
        seed = struct.pack("<BH", [0, 3, 7, 15][i % 4] | 8, len(words)) + words + data
        (folder / (name + ".bin")).write_bytes(seed)


if __name__ == "__main__":
    main()
