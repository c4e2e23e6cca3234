#!/usr/bin/env python3
"""Turns criterion's estimates into benches/results/<adapter>.md and .json: bench_table.py CRITERION RESULTS ADAPTERS."""

import json
import os
import re
import sys
from pathlib import Path

criterion, results, adapters = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])["adapters"]
wanted = os.environ.get("WGPT_ADAPTER", "")
adapter = next((name for name in adapters if wanted.lower() in name.lower()), adapters[0])
rows = []
for file in sorted(criterion.glob("**/new/estimates.json")):
    benchmark = json.loads((file.parent / "benchmark.json").read_text())
    seconds = json.loads(file.read_text())["median"]["point_estimate"] * 1e-9
    work = benchmark.get("throughput") or {}
    kind, amount = next(iter(work.items()), (None, None))
    rate = None if amount is None else amount / seconds
    rows.append({"group": benchmark["group_id"], "name": benchmark["function_id"], "seconds": seconds,
                 "rate": rate, "unit": "B/s" if kind and kind.startswith("Bytes") else "elements/s"})
name = re.sub(r"[^a-z0-9]+", "-", adapter.lower()).strip("-")
command = "scripts/bench"
(results / f"{name}.json").write_text(json.dumps({"adapter": adapter, "command": command, "benches": rows}, indent=1))
lines = [f"# {adapter}", "", f"Medians of `{command}`. Elements are FLOP for matmul, attention and multiply-add, tokens for",
         "training and decode.", ""]
for group in dict.fromkeys(row["group"] for row in rows):
    lines += [f"## {group}", "", "| what | time | rate |", "|---|---|---|"]
    for row in (row for row in rows if row["group"] == group):
        time = f"{row['seconds'] * 1e3:.3f} ms"
        rate = ""
        if row["rate"] is not None:
            giga = row["rate"] >= 1e8
            rate = f"{row['rate'] * (1e-9 if giga else 1):.1f} {'G' if giga else ''}{row['unit']}"
        lines.append(f"| {row['name']} | {time} | {rate} |")
    lines.append("")
(results / f"{name}.md").write_text("\n".join(lines))
print(results / f"{name}.md")
