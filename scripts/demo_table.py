"""The demo's documents and synopses, as text for a terminal. Standard library only.

usage: demo_table.py document SAMPLES                 the first document
       demo_table.py table IN OUT REFERENCES          document, synopsis made, synopsis by a person
"""

import json
import shutil
import sys
import textwrap

ROWS = 12


def lines(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def content(request: dict) -> str:
    return request["body"]["messages"][-1]["content"]


def document(samples: str) -> None:
    print(content(lines(samples)[0]))


def table(requests: str, results: str, references: str) -> None:
    width = min(shutil.get_terminal_size((100, 20)).columns, 120)
    made = {r["custom_id"]: r for r in lines(results)}
    human = {r["custom_id"]: r["synopsis"] for r in lines(references)}
    ok = [r for r in lines(requests) if made[r["custom_id"]].get("response")]
    for request in ok[:ROWS]:
        key = request["custom_id"]
        text = made[key]["response"]["body"]["choices"][0]["message"]["content"]
        print("-" * width)
        print(textwrap.shorten(content(request), 2 * width - 12, placeholder=" ..."))
        print(f"  millrace: {text.strip()}")
        print(f"  a person: {human[key]}")
    print("-" * width)
    print(f"{len(ok)} of {len(made)} documents summarized, {min(ROWS, len(ok))} shown")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "document":
        document(sys.argv[2])
    elif len(sys.argv) == 5 and sys.argv[1] == "table":
        table(*sys.argv[2:])
    else:
        sys.exit(__doc__)
