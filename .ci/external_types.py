"""Lists the crates whose types the public interface shows, and compares them with external_types.txt.

Reads rustdoc's JSON (nightly), as `.ci/run external_types` makes it. A crate that is new in the list is a
promise: its next incompatible version is one of ours too.
"""

import json
import pathlib
import sys

document = json.loads(pathlib.Path(sys.argv[1]).read_text())
index, paths, crates = document["index"], document["paths"], document["external_crates"]
STANDARD = {"std", "core", "alloc"}
shown = {}


def references(node):
    """Every type and trait that is named below `node`, by its id."""
    if isinstance(node, dict):
        if "id" in node and isinstance(node.get("path"), str):
            yield node["id"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def is_derived_by_the_compiler(item):
    implementation = item["inner"].get("impl")
    return implementation and (implementation["is_synthetic"] or implementation["blanket_impl"])


for item in index.values():
    # Items that are not public are not in this JSON.
    if item["crate_id"] != 0 or is_derived_by_the_compiler(item):
        continue
    for id in references(item["inner"]):
        target = paths.get(str(id))
        if target and target["crate_id"] != 0:
            crate = crates[str(target["crate_id"])]["name"]
            if crate not in STANDARD:
                shown.setdefault(crate, "::".join(target["path"]))

listed = {
    line.split()[0]
    for line in pathlib.Path(__file__).with_name("external_types.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
}
complaints = [f"{crate} is shown ({shown[crate]}) and not listed" for crate in sorted(shown.keys() - listed)]
complaints += [f"{crate} is listed and not shown" for crate in sorted(listed - shown.keys())]
print(f"{len(shown)} crates: {', '.join(sorted(shown))}")
print("\n".join(complaints))
sys.exit(bool(complaints) or len(shown) < 5)
