"""export_gguf.py - the trained model as one GGUF file, the only form the engine reads.

A writer of our own, because the format is short and the engine's reader should
be tested against something that was not written together with it. Matrices are
Q8_0 (blocks of 32 values: an f16 scale and 32 signed bytes), which costs this
model nothing that its score shows and halves the file; the norms' gains, a few
hundred values each, stay F32. There is no output.weight: the output head is the
embedding matrix.

The query and key rows need no permutation: training turns neighbouring
components (2i, 2i+1), and so does GGUF's "llama" architecture.
"""
from __future__ import annotations

import argparse
import os
import struct
from typing import Any, BinaryIO

import numpy as np
import torch

import bpe

ALIGN = 32
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5  # GGUF's value types
TENSOR_F32, TENSOR_Q8_0 = 0, 8                          # ggml's tensor types
TOKEN_NORMAL, TOKEN_CONTROL = 1, 3

CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def text(s: str) -> bytes:
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind: int, v: Any) -> bytes:
    if kind == STRING:
        return text(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def field(key: str, kind: int, v: Any) -> bytes:
    return text(key) + struct.pack("<I", kind) + value(kind, v)


def field_array(key: str, kind: int, items: list[Any]) -> bytes:
    return (text(key) + struct.pack("<IIQ", ARRAY, kind, len(items))
            + b"".join(value(kind, v) for v in items))


def q8_0(m: np.ndarray) -> bytes:
    """Rows of blocks; the scale is rounded to f16 first, so the bytes fit what is stored."""
    blocks = m.astype(np.float32).reshape(-1, 32)
    scale = (np.abs(blocks).max(1) / 127).astype(np.float16)
    inverse = np.where(scale > 0, 1 / np.maximum(scale.astype(np.float32), 1e-12), 0)
    quants = np.clip(np.rint(blocks * inverse[:, None]), -127, 127).astype(np.int8)
    out = np.empty(len(blocks), dtype=[("d", "<f2"), ("q", "i1", 32)])
    out["d"], out["q"] = scale, quants
    return out.tobytes()


def metadata(shape: dict[str, Any], tok: bpe.Tokenizer, name: str) -> list[bytes]:
    n = len(tok.tokens)
    kinds = [TOKEN_NORMAL] * (n - len(bpe.SPECIALS)) + [TOKEN_CONTROL] * len(bpe.SPECIALS)
    return [
        field("general.architecture", STRING, "llama"),
        field("general.name", STRING, name),
        field("general.description", STRING,
              "Writes a one-line synopsis of a software package's description"),
        field("general.file_type", U32, 7),  # mostly Q8_0
        field("general.quantization_version", U32, 2),
        field("llama.context_length", U32, shape["context"]),
        field("llama.embedding_length", U32, shape["width"]),
        field("llama.block_count", U32, shape["layers"]),
        field("llama.feed_forward_length", U32, shape["ffn"]),
        field("llama.attention.head_count", U32, shape["heads"]),
        field("llama.attention.head_count_kv", U32, shape["kv_heads"]),
        field("llama.attention.layer_norm_rms_epsilon", F32, shape["eps"]),
        field("llama.rope.dimension_count", U32, shape["width"] // shape["heads"]),
        field("llama.rope.freq_base", F32, shape["rope_base"]),
        field("llama.vocab_size", U32, n),
        field("tokenizer.ggml.model", STRING, "gpt2"),
        field("tokenizer.ggml.pre", STRING, "gpt-2"),
        field_array("tokenizer.ggml.tokens", STRING, tok.tokens),
        field_array("tokenizer.ggml.token_type", I32, kinds),
        field_array("tokenizer.ggml.merges", STRING, [" ".join(m) for m in tok.merges]),
        field("tokenizer.ggml.bos_token_id", U32, tok.id_of[bpe.ENDOFTEXT]),
        field("tokenizer.ggml.eos_token_id", U32, tok.id_of[bpe.IM_END]),
        field("tokenizer.ggml.padding_token_id", U32, tok.id_of[bpe.ENDOFTEXT]),
        field("tokenizer.ggml.add_bos_token", BOOL, False),
        field("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
    ]


def pad(f: BinaryIO) -> None:
    f.write(b"\0" * (-f.tell() % ALIGN))


def write(path: str, fields: list[bytes], weights: dict[str, np.ndarray]) -> None:
    """Into a file beside it first: a reader sees the old model or the new one."""
    infos, blobs, at = [], [], 0
    for name, w in weights.items():
        kind, blob = (TENSOR_F32, w.astype("<f4").tobytes()) if w.ndim == 1 else \
                     (TENSOR_Q8_0, q8_0(w))
        dims = w.shape[::-1]  # ggml names the fastest-moving dimension first
        infos.append(text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at))
        blobs.append(blob)
        at += len(blob) + -len(blob) % ALIGN
    with open(path + ".part", "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(fields)))
        for part in fields + infos:
            f.write(part)
        for blob in blobs:
            pad(f)
            f.write(blob)
        pad(f)
    os.replace(path + ".part", path)


def main() -> None:
    p = argparse.ArgumentParser(description="Write the trained model as GGUF, quantized to Q8_0.")
    p.add_argument("--checkpoint", required=True, help="what train.py wrote")
    p.add_argument("--bpe", required=True, help="bpe.json of the same training")
    p.add_argument("--out", required=True, help="the GGUF file to write")
    p.add_argument("--name", default="millrace demo: package synopsis")
    a = p.parse_args()
    state = torch.load(a.checkpoint, map_location="cpu")
    tok = bpe.Tokenizer.load(a.bpe)
    weights = {k.removeprefix("w.").replace("/", ".") + ".weight": v.float().numpy()
               for k, v in state["model"].items()}
    assert state["shape"]["vocab"] == len(tok.tokens)
    write(a.out, metadata(state["shape"], tok, a.name), weights)
    print(f"{a.out}: {len(weights)} tensors, {sum(w.size for w in weights.values()) / 1e6:.2f} M "
          f"parameters, {os.path.getsize(a.out) / 1e6:.2f} MB, {state['tokens'] / 1e6:.1f} M "
          f"tokens in {state['seconds'] / 60:.0f} minutes, the last cycle's")


if __name__ == "__main__":
    main()
