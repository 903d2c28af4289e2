#!/usr/bin/python3
"""Writes splits.txt: how the published regular expressions of the pre-tokenizers cut texts.

    apt-get install python3-regex; tests/golden/make_splits.py > tests/golden/splits.txt

Per text: a line with the text (backslash, control and non-UTF-8-safe bytes as \\xNN), then a line
per rule (gpt-2, llama-bpe, qwen2, smollm, default) with the lengths of the pieces in bytes.
Characters that Unicode 14 does not assign are left out: the engine's table stops there.
"""
import random
import unicodedata

import regex

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
RULES = {  # each expression cuts what the ones before it left between their matches
    "gpt-2": [GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "smollm": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}


def cut(text, expression):
    out, at = [], 0
    for match in regex.finditer(expression, text):
        out += [text[at:match.start()], match.group()]
        at = match.end()
    return [piece for piece in out + [text[at:]] if piece]


def split(text, rule):
    """Later expressions run on every piece; one that matches as a whole stays whole."""
    pieces = [text]
    for expression in RULES[rule]:
        pieces = [part for piece in pieces for part in cut(piece, expression)]
    return pieces


WORDS = ("a The hello don't I'M we'LL they'Re 'S 'd 'ſ x'ſt 's' it''s naïve Straße привет мир 你好 "
         "世界 ａｂｃ العربية שלום देवनागरी ไทย 한국어 e\u0301 ﬁ ǅ 1 12 123 1234 12345678 3.14 1,000 ² ½ Ⅷ "
         "٣٤٥ １２３ 12²345²6789 _ __init__ foo_bar x=y; a->b /* */ // $5 €5 ... — “q” ¿ 😀 👨‍👩‍👧 ✅ `code` "
         "<|im_end|> <s> [INST] #!/bin/sh \\n ^ ~ | + ++ <= %20 @user C++ ﷺ \u200b \ufeff \x00 \x7f").split(" ")
BLANKS = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", " \n \n", "\u00a0", "\u3000",
          "\u2028", "\x0b", "\x85", "\u2003 ", "", "", "", "", " ", " ", " ", " "]
CHARS = "ab'sStTrReEvVmMlLdD  \n\r\t012345é²中!.,$+<^`_-\u00a0\u3000ſ\u0301€"


def texts(rng):
    assigned = [chr(c) for c in range(0x110000)
                if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    yield from ("", " ", "  ", "\n", " a", "  a", "\n a", " \n a", "a ", "a  ", "a\n", "a \n ",
                "!\n\n a", " !\r\n", "'", "''", "'s", "'S", "'ll", "'l", "'lL", " 's", "a's", "1's",
                "\t\ta", "\t a", "\ta", "\n1", " 1", "  1", "1 2", "!a", " !a", "  !a", "-1234567")
    for _ in range(330):
        yield "".join(rng.choice(WORDS) + rng.choice(BLANKS) for _ in range(rng.randint(1, 12)))
    for _ in range(330):
        yield "".join(rng.choice(CHARS) for _ in range(rng.randint(1, 24)))
    for _ in range(200):
        yield "".join(rng.choice(assigned) + rng.choice(["", " ", "a", "1", "\n"])
                      for _ in range(rng.randint(1, 10)))


def main():
    for text in texts(random.Random(1)):
        line = "".join("\\x%02x" % ord(c) if c == "\\" or ord(c) < 32 or ord(c) == 127
                       else c for c in text)
        print(line)
        for rule in RULES:
            pieces = split(text, rule)
            assert "".join(pieces) == text
            print(*(len(piece.encode()) for piece in pieces))


if __name__ == "__main__":
    main()
