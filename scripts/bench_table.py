#!/usr/bin/env python3
"""Turns criterion's estimates into benches/results/<adapter>.md and .json: bench_table.py CRITERION RESULTS ADAPTERS."""

import json
import os
import re
import sys
from pathlib import Path

GROUPS = ["roofline", "training step", "decode", "matmul", "attention", "rows", "flat"]
ROOF = {"FLOP/s": "multiply-add", "B/s": "copy kernel"}


def unit(group, name, kind):
    """What the throughput of a bench counts."""
    if kind == "Elements":
        if group in ("matmul", "attention") or "multiply-add" in name:
            return "FLOP/s"
        return "tokens/s" if group in ("training step", "decode") else "/s"
    return "B/s"


def order(row):
    return GROUPS.index(row["group"]) if row["group"] in GROUPS else len(GROUPS)


def scaled(rate, unit):
    """A rate with the prefix that keeps it readable."""
    if unit in ("FLOP/s", "B/s"):
        return f"{rate * 1e-9:.1f} G{unit}" if rate >= 1e8 else f"{rate * 1e-6:.1f} M{unit}"
    return f"{rate:,.0f} {unit}"


criterion, results, adapters = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])["adapters"]
wanted = os.environ.get("WGPT_ADAPTER", "")
adapter = next((name for name in adapters if wanted.lower() in name.lower()), adapters[0])
rows = []
for file in sorted(criterion.glob("**/new/estimates.json")):
    benchmark = json.loads((file.parent / "benchmark.json").read_text())
    seconds = json.loads(file.read_text())["median"]["point_estimate"] * 1e-9
    kind, amount = next(iter((benchmark.get("throughput") or {}).items()), (None, None))
    group, name = benchmark["group_id"], benchmark["function_id"]
    rows.append({"group": group, "name": re.sub(r" \(elements are \w+\)", "", name), "seconds": seconds,
                 "rate": None if amount is None else amount / seconds, "unit": unit(group, name, kind)})
rows.sort(key=order)
roofs = {u: next((row["rate"] for row in rows if row["name"].startswith(start)), None) for u, start in ROOF.items()}

results.mkdir(parents=True, exist_ok=True)
name = re.sub(r"[^a-z0-9]+", "-", adapter.split("(")[0].lower()).strip("-")
command = "scripts/bench"
report = {"adapter": adapter, "command": command, "roofline": roofs, "benches": rows}
(results / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
lines = [f"# {adapter}", "", f"Medians of `{command}`. The last column is the share of the roofline measured in the same run: the rate of",
         "multiply-adds in registers for kernels that count FLOP, of a copying kernel for those that count bytes (above 100 %",
         "where the data stays in a cache).", ""]
for group in dict.fromkeys(row["group"] for row in rows):
    lines += [f"## {group}", "", "| what | time | rate | of the roofline |", "|---|---|---|---|"]
    for row in (row for row in rows if row["group"] == group):
        roof = roofs.get(row["unit"])
        rate = "" if row["rate"] is None else scaled(row["rate"], row["unit"])
        share = f"{100 * row['rate'] / roof:.0f} %" if roof and group != "roofline" else ""
        lines.append(f"| {row['name']} | {row['seconds'] * 1e3:.3f} ms | {rate} | {share} |")
    lines.append("")
(results / f"{name}.md").write_text("\n".join(lines))
print(results / f"{name}.md")
