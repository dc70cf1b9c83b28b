"""Reads what callgrind wrote."""

import re
from collections import defaultdict


def instructions(path):
    """{thread: instructions} of one callgrind run; the recording thread is number 1."""
    counts = defaultdict(int)
    for part in path.parent.glob(path.name + "-*"):
        totals = re.findall(r"^(?:summary|totals): (\d+)", part.read_text(errors="replace"), re.M)
        counts[int(part.name.rsplit("-", 1)[1])] += max(map(int, totals), default=0)
    return counts
