"""bpe.py - the demo model's tokenizer: byte-level BPE, in GPT-2's conventions.

The engine reads the vocabulary from the GGUF file and has to arrive at the same
ids, so nothing here is of our own design: GPT-2's pre-tokenizer expression,
GPT-2's printable stand-ins for the 256 bytes, merges applied in order of rank.
Own is only the vocabulary, learned from the training side of the split: a small
one keeps the output head, the largest matrix of a model this size, cheap.

Ids: 0-255 the bytes (in the order of their stand-ins, as GPT-2 has them), then
one token for each merge, then the special tokens.
"""
from __future__ import annotations

import argparse
import collections
import heapq
import json
import os

import regex  # \p{L} and \p{N}; the standard re has neither

import data

PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
ENDOFTEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = [ENDOFTEXT, IM_START, IM_END]


def byte_stand_ins() -> dict[int, str]:
    """GPT-2's printable character for each byte, in the order of the ids."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    table = {b: chr(b) for b in plain}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(plain))
    return table


class Tokenizer:
    """Text <-> ids. Tokens and merges are in stand-in characters, as in GGUF."""

    def __init__(self, merges: list[tuple[str, str]]):
        self.merges = merges
        self.stand_in = byte_stand_ins()
        self.byte_of = {c: b for b, c in self.stand_in.items()}
        self.tokens = list(self.stand_in.values()) + [a + b for a, b in merges] + SPECIALS
        self.id_of = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {m: i for i, m in enumerate(merges)}
        self.cache: dict[str, list[int]] = {}

    @classmethod
    def load(cls, path: str) -> "Tokenizer":
        with open(path, encoding="utf-8") as f:
            return cls([tuple(m.split(" ")) for m in json.load(f)["merges"]])

    def save(self, path: str) -> None:
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"merges": [" ".join(m) for m in self.merges]}, f, ensure_ascii=False)

    def _word(self, word: str) -> list[int]:
        parts = [self.stand_in[b] for b in word.encode()]
        while len(parts) > 1:
            rank, i = min((self.rank.get(p, len(self.rank)), i)
                          for i, p in enumerate(zip(parts, parts[1:])))
            if rank == len(self.rank):
                break
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        return [self.id_of[p] for p in parts]

    def encode(self, text: str) -> list[int]:
        """Plain text: a special token's spelling in it stays plain text."""
        ids: list[int] = []
        for word in PATTERN.findall(text):
            if word not in self.cache:
                self.cache[word] = self._word(word)
            ids += self.cache[word]
        return ids

    def decode(self, ids: list[int]) -> str:
        text = "".join(self.tokens[i] for i in ids if i < len(self.tokens) - len(SPECIALS))
        return bytes(self.byte_of[c] for c in text).decode("utf-8", errors="replace")

    def prompt(self, description: str) -> list[int]:
        """What the chat template makes of one user message, generation prompt included."""
        start, end = self.id_of[IM_START], self.id_of[IM_END]
        return ([start] + self.encode("user\n" + description) + [end] + self.encode("\n")
                + [start] + self.encode("assistant\n"))


def learn(texts: list[str], vocab_size: int) -> list[tuple[str, str]]:
    """The merges that the most frequent neighbours in these texts call for."""
    counts = collections.Counter(w for t in texts for w in PATTERN.findall(t))
    stand_in = byte_stand_ins()
    # Seen once, a word says little about the language and costs as much time as any.
    words = [([stand_in[b] for b in w.encode()], n) for w, n in counts.items() if n > 1]
    pairs: collections.Counter[tuple[str, str]] = collections.Counter()
    where: dict[tuple[str, str], set[int]] = collections.defaultdict(set)
    for i, (parts, n) in enumerate(words):
        for p in zip(parts, parts[1:]):
            pairs[p] += n
            where[p].add(i)
    # An entry whose count has changed since it was pushed is stale; ties go by
    # the pair's text, so the result depends on the texts alone.
    heap = [(-n, p) for p, n in pairs.items()]
    heapq.heapify(heap)
    merges: list[tuple[str, str]] = []
    while heap and len(merges) < vocab_size - 256 - len(SPECIALS):
        n, best = heapq.heappop(heap)
        if pairs[best] != -n:
            continue
        if n == 0:
            break
        merges.append(best)
        changed: set[tuple[str, str]] = set()
        for i in where.pop(best):
            parts, n_word = words[i]
            for p in zip(parts, parts[1:]):
                pairs[p] -= n_word
                changed.add(p)
            k = 0
            while k < len(parts) - 1:
                if (parts[k], parts[k + 1]) == best:
                    parts[k:k + 2] = [best[0] + best[1]]
                k += 1
            for p in zip(parts, parts[1:]):
                pairs[p] += n_word
                changed.add(p)
                where[p].add(i)
        for p in changed:
            if pairs[p] > 0:
                heapq.heappush(heap, (-pairs[p], p))
    return merges


def main() -> None:
    p = argparse.ArgumentParser(description="Learn the BPE vocabulary from the training side.")
    p.add_argument("--data", required=True, help="folder with train.jsonl; gets bpe.json")
    p.add_argument("--vocab", type=int, default=6144, help="number of tokens, specials included")
    a = p.parse_args()
    docs = data.read_jsonl(os.path.join(a.data, "train.jsonl"))
    texts = [d[k] for d in docs for k in ("description", "synopsis")]
    texts += ["user\n", "assistant\n"] * len(docs)  # the template's words: one token each
    tok = Tokenizer(learn(texts, a.vocab))
    tok.save(os.path.join(a.data, "bpe.json"))
    sample = docs[::50]
    n_ids = sum(len(tok.encode(d["description"])) for d in sample)
    n_chars = sum(len(d["description"]) for d in sample)
    assert all(tok.decode(tok.encode(d["description"])) == d["description"] for d in sample)
    print(f"{len(tok.tokens)} tokens; {n_chars / n_ids:.2f} characters per token, "
          f"{n_ids / len(sample):.0f} tokens per description")


if __name__ == "__main__":
    main()
