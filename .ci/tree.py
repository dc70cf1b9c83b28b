"""Holds deny.toml's licences, bans and single versions without cargo-deny.

Reads `cargo metadata` on standard input and walks what the crate links, all features on; what only
tests and benchmarks use is left out.
"""

import json
import pathlib
import re
import sys
import tomllib

rules = tomllib.loads(pathlib.Path(__file__).parent.parent.joinpath("deny.toml").read_text())
allow, deny = set(rules["licenses"]["allow"]), set(rules["bans"]["deny"])
skip = {entry["crate"] for entry in rules["bans"]["skip"]}

metadata = json.load(sys.stdin)
packages = {p["id"]: p for p in metadata["packages"]}
nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
seen, todo = set(), [metadata["resolve"]["root"]]
while todo:
    at = todo.pop()
    if at not in seen:
        seen.add(at)
        for dep in nodes[at]["deps"]:
            if any(kind["kind"] is None for kind in dep["dep_kinds"]):
                todo.append(dep["pkg"])


def is_allowed(expression):
    """A licence expression with every allowed name true and every other false."""
    expression = expression.replace("/", " OR ").replace(" WITH ", "-with-")
    words = re.findall(r"\(|\)|[^\s()]+", expression)
    logic = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    return eval(" ".join(logic.get(w) or str(w in allow) for w in words))


def compatible(version):
    major, minor = version.split(".")[:2]
    return major if major != "0" else f"0.{minor}"


broken, versions, used = [], {}, set()
for p in sorted((packages[i] for i in seen), key=lambda p: p["name"]):
    name = p["name"]
    if not is_allowed(p["license"] or "none"):
        broken.append(f"{name}: the licence {p['license']} is not on the list")
    if name in deny:
        broken.append(f"{name} is banned")
    versions.setdefault(name, set()).add(compatible(p["version"]))
for name, found in versions.items():
    listed = {v for v in found if f"{name}@{v}" in skip}
    used |= {f"{name}@{v}" for v in listed}
    if len(found - listed) > 1:
        broken.append(f"{name} is there in versions {', '.join(sorted(found))}")
broken += [f"deny.toml skips {entry}, which is not there" for entry in sorted(skip - used)]

print(f"{len(seen)} crates, {len(broken)} complaints")
print("\n".join(broken))
sys.exit(bool(broken))
