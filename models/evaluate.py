"""evaluate.py - how good the demo model is, measured on the GGUF file itself.

The score is ROUGE-L F1 against the maintainer's own synopsis: the longest common
subsequence of lowercased words (runs of letters, digits and underscores), its
share of the words made and of the words wanted, and the harmonic mean of the two;
averaged over documents. No stemming, no stop words.

The reader and the forward pass below are NumPy in f32 and share no code with the
training or the engine: they read the file that is shipped, with its quantized
weights, so an error in the export shows up as a bad score.

Two baselines cost nothing to run: the description's first sentence, and the
first few words of it (a synopsis is short, and F1 punishes length).
"""
from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import struct
import time
from typing import Any

import numpy as np

import bpe
import data

WORD = re.compile(r"\w+")
N_WORDS = 14  # of the second baseline: the number that suits it best on the held-out part


# --- the score -------------------------------------------------------------------------------

def rouge_l(made: str, wanted: str) -> float:
    a, b = WORD.findall(made.lower()), WORD.findall(wanted.lower())
    if not a or not b:
        return float(a == b)
    row = [0] * (len(b) + 1)
    for x in a:
        left_up = 0
        for j, y in enumerate(b, 1):
            left_up, row[j] = row[j], left_up + 1 if x == y else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b))


def mean_rouge_l(made: list[str], wanted: list[str]) -> float:
    return sum(map(rouge_l, made, wanted)) / len(made)


def first_sentence(description: str) -> str:
    line = description.split("\n", 1)[0]
    return re.split(r"(?<=[.!?])\s+(?=[A-Z\d\"'(])", line, maxsplit=1)[0]


def first_words(description: str, n: int) -> str:
    return " ".join(first_sentence(description).split()[:n])


# --- the file --------------------------------------------------------------------------------

class Gguf:
    """Metadata and dequantized tensors of one GGUF v3 file (F32, F16 and Q8_0)."""

    SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?",
               10: "Q", 11: "q", 12: "d"}

    def __init__(self, path: str):
        with open(path, "rb") as f:
            self.buf = f.read()
        self.at = 0
        magic, version = self.take("4sI")
        if magic != b"GGUF" or version != 3:
            raise ValueError(f"{path}: not a GGUF v3 file")
        n_tensors, n_fields = self.take("QQ")
        self.meta = dict(self.field() for _ in range(n_fields))
        infos = [self.info() for _ in range(n_tensors)]
        align = self.meta.get("general.alignment", 32)
        self.base = self.at + -self.at % align
        self.tensors = {name: self.dequantize(dims, kind, off) for name, dims, kind, off in infos}

    def take(self, fmt: str) -> Any:
        values = struct.unpack_from("<" + fmt, self.buf, self.at)
        self.at += struct.calcsize("<" + fmt)
        return values if len(values) > 1 else values[0]

    def string(self) -> str:
        n = self.take("Q")
        self.at += n
        return self.buf[self.at - n:self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == 8:
            return self.string()
        if kind == 9:
            item, n = self.take("IQ")
            return [self.value(item) for _ in range(n)]
        return self.take(self.SCALARS[kind])

    def field(self) -> tuple[str, Any]:
        key = self.string()
        return key, self.value(self.take("I"))

    def info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, n_dims = self.string(), self.take("I")
        dims = tuple(self.take("Q") for _ in range(n_dims))
        kind, off = self.take("IQ")
        return name, dims[::-1], kind, off  # NumPy's order: the fastest-moving last

    def dequantize(self, dims: tuple[int, ...], kind: int, off: int) -> np.ndarray:
        n, start = int(np.prod(dims)), self.base + off
        if kind == 0:
            flat = np.frombuffer(self.buf, "<f4", n, start)
        elif kind == 1:
            flat = np.frombuffer(self.buf, "<f2", n, start).astype(np.float32)
        elif kind == 8:
            blocks = np.frombuffer(self.buf, [("d", "<f2"), ("q", "i1", 32)], n // 32, start)
            flat = blocks["d"].astype(np.float32)[:, None] * blocks["q"]
        else:
            raise ValueError(f"tensor type {kind} is not supported")
        return flat.reshape(dims)


# --- the model -------------------------------------------------------------------------------

def rms_norm(x: np.ndarray, g: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * g


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Model:
    """GGUF's llama architecture, for a batch of sequences that grow together."""

    def __init__(self, g: Gguf):
        m, self.w = g.meta, g.tensors
        self.n_layers = m["llama.block_count"]
        self.n_head = m["llama.attention.head_count"]
        self.n_kv = m["llama.attention.head_count_kv"]
        self.eps = m["llama.attention.layer_norm_rms_epsilon"]
        self.d_head = m["llama.embedding_length"] // self.n_head
        self.context = m["llama.context_length"]
        n_rot = m["llama.rope.dimension_count"]
        assert n_rot == self.d_head
        freq = m["llama.rope.freq_base"] ** (-np.arange(0, n_rot, 2) / n_rot)
        angle = np.outer(np.arange(self.context), freq)
        self.cos, self.sin = np.cos(angle).astype("f4"), np.sin(angle).astype("f4")
        self.head = self.w.get("output.weight", self.w["token_embd.weight"])
        self.eos = m["tokenizer.ggml.eos_token_id"]
        self.tok = bpe.Tokenizer([tuple(p.split(" ")) for p in m["tokenizer.ggml.merges"]])
        assert self.tok.tokens == m["tokenizer.ggml.tokens"]

    def rope(self, x: np.ndarray, pos: np.ndarray) -> np.ndarray:
        """Turns the pairs (2i, 2i+1). x [B, T, heads, d_head]; pos [B, T]."""
        c, s = self.cos[pos][:, :, None], self.sin[pos][:, :, None]
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * c - x[..., 1::2] * s
        out[..., 1::2] = x[..., 0::2] * s + x[..., 1::2] * c
        return out

    def forward(self, ids: np.ndarray, pos: np.ndarray, ks: np.ndarray,
                vs: np.ndarray) -> np.ndarray:
        """ids, pos [B, T] -> hidden states [B, T, width].

        ks, vs [layers, B, kv_heads, K, d_head] are read, and written at pos. A
        query sees the keys at positions up to its own.
        """
        b, t = ids.shape
        rows = np.arange(b)[:, None]
        n_seen = int(pos.max()) + 1
        hidden_key = np.arange(n_seen)[None, None] > pos[:, :, None]  # [B, T, n_seen]
        hidden_key = np.tile(hidden_key, (1, self.n_head // self.n_kv, 1))[:, None]
        x = self.w["token_embd.weight"][ids]
        for n in range(self.n_layers):
            def w(name: str) -> np.ndarray:
                return self.w[f"blk.{n}.{name}.weight"]
            h = rms_norm(x, w("attn_norm"), self.eps)
            q = self.rope((h @ w("attn_q").T).reshape(b, t, self.n_head, -1), pos)
            k = self.rope((h @ w("attn_k").T).reshape(b, t, self.n_kv, -1), pos)
            ks[n][rows, :, pos] = k
            vs[n][rows, :, pos] = (h @ w("attn_v").T).reshape(b, t, self.n_kv, -1)
            # Query heads of one key head, stacked: [B, kv_heads, group * T, d_head].
            q = q.reshape(b, t, self.n_kv, -1, self.d_head).transpose(0, 2, 3, 1, 4)
            q = q.reshape(b, self.n_kv, -1, self.d_head)
            score = q @ ks[n][:, :, :n_seen].swapaxes(-1, -2) / np.float32(np.sqrt(self.d_head))
            score = np.where(hidden_key, np.float32(-np.inf), score)
            o = softmax(score) @ vs[n][:, :, :n_seen]
            o = o.reshape(b, self.n_head, t, self.d_head).swapaxes(1, 2).reshape(b, t, -1)
            x = x + o @ w("attn_output").T
            h = rms_norm(x, w("ffn_norm"), self.eps)
            gate = h @ w("ffn_gate").T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w("ffn_up").T)) @ w("ffn_down").T
        return x

    def logits(self, x: np.ndarray) -> np.ndarray:
        return rms_norm(x, self.w["output_norm.weight"], self.eps) @ self.head.T

    def greedy(self, prompts: list[list[int]], n_max: int) -> list[list[int]]:
        """The likeliest next token, n_max times or until end of turn, for each prompt.

        Prompts are padded on the right; what the padding wrote into the cache lies
        at later positions, and is overwritten before any query may see it.
        """
        b, t = len(prompts), max(map(len, prompts))
        shape = (self.n_layers, b, self.n_kv, t + n_max, self.d_head)
        ks, vs = np.zeros(shape, "f4"), np.zeros(shape, "f4")
        ids = np.zeros((b, t), np.int64)
        for i, p in enumerate(prompts):
            ids[i, :len(p)] = p
        pos = np.array([len(p) for p in prompts])
        x = self.forward(ids, np.tile(np.arange(t), (b, 1)), ks, vs)[np.arange(b), pos - 1]
        out: list[list[int]] = [[] for _ in prompts]
        alive = np.ones(b, bool)
        for _ in range(n_max):
            nxt = self.logits(x).argmax(-1)
            alive &= nxt != self.eos
            if not alive.any():
                break
            for i in np.flatnonzero(alive):
                out[i].append(int(nxt[i]))
            x = self.forward(nxt[:, None], pos[:, None], ks, vs)[:, 0]
            pos = pos + 1
        return out


def summarize(model: Model, descriptions: list[str], n_description: int, n_max: int,
              n_batch: int = 32) -> list[str]:
    """One synopsis per description, made in batches of like length."""
    tok = model.tok
    prompts = []
    for d in descriptions:
        ids = tok.encode(d)
        if len(ids) > n_description:
            d = tok.decode(ids[:n_description])
        prompts.append(tok.prompt(d))
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    made = [""] * len(prompts)
    for at in range(0, len(order), n_batch):
        rows = order[at:at + n_batch]
        for i, ids in zip(rows, model.greedy([prompts[i] for i in rows], n_max)):
            made[i] = tok.decode(ids)
    return made


def summarize_part(part: tuple[str, list[str], int, int]) -> list[str]:
    path, descriptions, n_description, n_max = part
    return summarize(Model(Gguf(path)), descriptions, n_description, n_max)


def summarize_all(path: str, descriptions: list[str], n_description: int, n_max: int,
                  n_jobs: int) -> list[str]:
    """summarize() in several processes, each with every n_jobs-th document."""
    parts = [(path, descriptions[k::n_jobs], n_description, n_max) for k in range(n_jobs)]
    made = [""] * len(descriptions)
    with multiprocessing.Pool(n_jobs) as pool:
        for k, texts in enumerate(pool.map(summarize_part, parts)):
            made[k::n_jobs] = texts
    return made


def answer_requests(model: Model, requests: str, out: str) -> None:
    """The model's answers to batch requests, with the ids: what an engine can be compared to.

    An engine that rounds differently (activations in 8 bits, say) may choose another
    token where two are all but equally likely, and goes on differently from there.
    """
    with open(requests, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    with open(out, "w", encoding="utf-8") as f:
        for r in lines:
            prompt = model.tok.prompt(r["body"]["messages"][0]["content"])
            ids = model.greedy([prompt], r["body"]["max_tokens"])[0]
            f.write(json.dumps({"custom_id": r["custom_id"], "prompt_ids": prompt, "ids": ids,
                                "text": model.tok.decode(ids)}, ensure_ascii=False) + "\n")


def shares_text(docs: list[data.Doc], train: list[data.Doc]) -> list[bool]:
    """Whether a line of some length stands, word for word, in the training side too."""
    known = {line for d in train for line in d["description"].split("\n") if len(line) >= 60}
    return [any(line in known for line in d["description"].split("\n")) for d in docs]


def main() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description="Score the demo model, and the baselines, by ROUGE-L.")
    p.add_argument("--gguf", default=os.path.join(here, "demo.gguf"), help="the model file")
    p.add_argument("--test", help="held-out documents (test.jsonl)")
    p.add_argument("--requests", help="instead of scoring: answer these batch requests into --out")
    p.add_argument("--train", help="train.jsonl: score apart what shares no line with it")
    p.add_argument("--n", type=int, default=0, help="only the first N in order of a fixed shuffle")
    p.add_argument("--description-tokens", type=int, default=400, help="longer ones are cut")
    p.add_argument("--jobs", type=int, default=2, help="processes to share the work")
    p.add_argument("--max-tokens", type=int, default=40)
    p.add_argument("--show", type=int, default=0, help="print this many examples")
    p.add_argument("--out", help="write each document's output here, as JSON lines")
    a = p.parse_args()
    if a.requests and a.out:
        answer_requests(Model(Gguf(a.gguf)), a.requests, a.out)
        return
    if not a.test:
        p.error("one of --test and --requests (with --out) is needed")
    docs = data.read_jsonl(a.test)
    np.random.default_rng(0).shuffle(docs)
    docs = docs[:a.n] if a.n else docs
    wanted = [d["synopsis"] for d in docs]
    descriptions = [d["description"] for d in docs]
    began = time.time()
    made = summarize_all(a.gguf, descriptions, a.description_tokens, a.max_tokens, a.jobs)
    seconds = time.time() - began
    rows = {"model": made, "first sentence": [first_sentence(d) for d in descriptions],
            f"first {N_WORDS} words": [first_words(d, N_WORDS) for d in descriptions]}
    apart = shares_text(docs, data.read_jsonl(a.train)) if a.train else [True] * len(docs)
    fresh = [i for i, shared in enumerate(apart) if not shared]
    for d, m in list(zip(docs, made))[:a.show]:
        print(f"{d['package']}\n  text   {d['description'][:300]!r}\n  model  {m}\n"
              f"  human  {d['synopsis']}")
    print(f"{len(docs)} documents in {seconds:.0f} s")
    for name, texts in rows.items():
        line = f"{name:16} ROUGE-L F1 {mean_rouge_l(texts, wanted):.4f}"
        if fresh:
            line += (f"; on the {len(fresh)} documents that share no line with the training side "
                     f"{mean_rouge_l([texts[i] for i in fresh], [wanted[i] for i in fresh]):.4f}")
        print(line)
    exact = sum(m.lower() == w.lower() for m, w in zip(made, wanted))
    print(f"word for word the maintainer's: {exact} ({100 * exact / len(docs):.1f} %)")
    if a.out:
        with open(a.out, "w", encoding="utf-8") as f:
            for d, m in zip(docs, made):
                f.write(json.dumps({"package": d["package"], "made": m, "wanted": d["synopsis"]},
                                   ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
