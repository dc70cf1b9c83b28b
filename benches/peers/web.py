"""The web part of the comparison: `line` makes one result of a run, `report` the table of all."""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

# What the server makes of a request.
SPANS = 3
OUT = Path(sys.argv[2])


def requests(text):
    return int(re.search(r"(\d+) requests in", text)[1])


def line():
    mode, round_, cpu, counts = sys.argv[3:7]
    text = (OUT / "web.wrk").read_text()
    answered = requests(text)
    wrong = re.search(r"Non-2xx|Socket errors", text)
    if wrong:
        sys.exit(f"{mode}: {text}")
    received = json.loads(counts)["spans"]
    made = SPANS * (answered + requests((OUT / "web.warm").read_text()))
    print(json.dumps({
        "mode": mode,
        "round": int(round_),
        "cpu_us": int(cpu) / answered / 1000,
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        "arrived": received / made,
    }))


def report():
    rounds = defaultdict(dict)
    for text in (OUT / "web.jsonl").read_text().splitlines():
        run = json.loads(text)
        rounds[run["round"]][run["mode"]] = run
    modes = list(dict.fromkeys(mode for runs in rounds.values() for mode in runs))
    print("\n### An axum server, 3 spans and 1 event a request\n")
    print("| mode | CPU µs a request | above none | requests/s | ×none | spans that arrived |")
    print("|---|---|---|---|---|---|")
    for mode in modes:
        pairs = [(r[mode], r["none"]) for r in rounds.values() if mode in r and "none" in r]
        cpu = median(run["cpu_us"] for run, _ in pairs)
        above = median(run["cpu_us"] - none["cpu_us"] for run, none in pairs)
        rps = median(run["rps"] for run, _ in pairs)
        ratio = median(run["rps"] / none["rps"] for run, none in pairs)
        arrived = median(run["arrived"] for run, _ in pairs)
        print(f"| {mode} | {cpu:.1f} | {above:.1f} | {rps:,.0f} | {ratio:.2f}× | {arrived:.1%} |")
    print(f"\nMedians of {len(rounds)} rounds; differences and ratios within a round.")


{"line": line, "report": report}[sys.argv[1]]()
