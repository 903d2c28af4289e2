#!/usr/bin/python3
"""Writes engine/unicode_table.c: the character classes of unicode.h as runs of equal class.

Run with a Python whose unicodedata is Unicode 14.0.0 (3.11: Debian 12's /usr/bin/python3):
    engine/unicode_make.py > engine/unicode_table.c
"""
import sys
import unicodedata

VERSION = "14.0.0"  # unicode.h says why
OTHER, LETTER, NUMBER, PUNCT, SPACE = range(5)
WHITE_SPACE = {
    *range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B),
    0x2028, 0x2029, 0x202F, 0x205F, 0x3000,
}


def class_of(cp):
    if cp in WHITE_SPACE:
        return SPACE
    category = unicodedata.category(chr(cp))
    return {"L": LETTER, "N": NUMBER, "P": PUNCT}.get(category[0], OTHER)


def main():
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"unicodedata is {unicodedata.unidata_version}, the table is {VERSION}")
    runs, last = [], None
    for cp in range(0x110000):
        kind = class_of(cp)
        if kind != last:
            runs.append(cp << 3 | kind)
            last = kind
    print("/* unicode_table.c - made by unicode_make.py from Unicode %s; do not edit.\n"
          " *\n"
          " * Each entry starts a run of characters of one class: code point << 3 | mr_uc. */"
          % VERSION)
    print('#include "engine/unicode_table.h"\n')
    print("const uint32_t mr_unicode_runs[] = {")
    line = "   "
    for run in runs:
        item = " 0x%x," % run
        if len(line) + len(item) > 98:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
    print("const size_t mr_unicode_n_runs = sizeof mr_unicode_runs / sizeof mr_unicode_runs[0];")


if __name__ == "__main__":
    main()
