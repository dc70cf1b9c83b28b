"""The table of step `requests`: instructions a request, above a service without middleware."""

import re
import sys
from pathlib import Path

OUT = Path(sys.argv[1])
STACKS = ["none", "tower-floor", "tower-unsampled", "sampled", "unsampled", "registry", "registry-unsampled"]
WORKS = ["plain", "caller", "axum", "client"]


def instructions(stack, work, units):
    """Those of the first thread."""
    totals = []
    for part in OUT.glob(f"{stack}.{work}.{units}.out-*01"):
        totals += re.findall(r"^(?:summary|totals): (\d+)", part.read_text(errors="replace"), re.M)
    return max(map(int, totals), default=None)


def of_request(stack, work):
    few, many = (instructions(stack, work, units) for units in (1000, 3000))
    return None if few is None or many is None else (many - few) / 2000


print("\n### Instructions a request above a service without middleware\n")
print("The kernel's are not counted.\n")
print("| stack | " + " | ".join(WORKS) + " |")
print("| --- |" + " --- |" * len(WORKS))
for stack in STACKS:
    row = []
    for work in WORKS:
        own, bare = of_request(stack, work), of_request("none", work)
        above = own if stack == "none" else own and bare and own - bare
        row.append("–" if above is None else f"{above:,.0f}")
    print(f"| {stack} | " + " | ".join(row) + " |")
