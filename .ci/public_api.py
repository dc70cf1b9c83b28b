"""Lists the whole public interface, a line an item, and compares it with public_api.txt.

    public_api.py JSON           compares, and says what is new and what is gone
    public_api.py JSON --renew   writes public_api.txt anew

Reads rustdoc's JSON (nightly), as `.ci/run public_api` makes it. A line that goes or changes breaks code of
users, so it belongs under **breaking** in CHANGELOG.md; a line that comes is a promise.

It also holds that each public struct with public fields, and each public enum, says whether it can grow: it is
`#[non_exhaustive]`, or EXHAUSTIVE names it with the reason.
"""

import difflib
import json
import pathlib
import re
import sys

# Public structs with public fields, and public enums, that users build or match exhaustively, and why.
EXHAUSTIVE = {
    "KeyValue": "a pair by its meaning",
    "SamplingDecision": "the three of the specification, which samplers of users match",
    "SpanKind": "the five of OTLP; a sixth is a change of the protocol",
    "Status": "the three of OTLP; a fourth is a change of the protocol",
    "TelemetryData": "programs that encode spans build it; another part would need their decision",
}

LISTING = pathlib.Path(__file__).with_name("public_api.txt")
document = json.loads(pathlib.Path(sys.argv[1]).read_text())
index, paths = document["index"], document["paths"]


def kind_of(item):
    return next(iter(item["inner"]))


def get(id):
    return index.get(str(id))


# --- types and signatures as text


def name_of(path):
    """The last part of a path: where a type lives is in `external_types.txt`."""
    return path.split("::")[-1]


def args(node):
    if not node:
        return ""
    if "parenthesized" in node:
        inner = node["parenthesized"]
        inputs = ", ".join(map(type_of, inner["inputs"]))
        return f"({inputs})" + output(inner["output"])
    if "angle_bracketed" not in node:
        return ""
    inner = node["angle_bracketed"]
    parts = []
    for arg in inner["args"]:
        if arg == "infer":
            parts.append("_")
        elif "lifetime" in arg:
            parts.append(arg["lifetime"])
        elif "type" in arg:
            parts.append(type_of(arg["type"]))
        else:
            parts.append(arg["const"]["expr"])
    for constraint in inner.get("constraints", inner.get("bindings", [])):
        binding = constraint["binding"]
        named = constraint["name"] + args(constraint.get("args"))
        if "equality" in binding:
            term = binding["equality"]
            parts.append(f"{named} = {type_of(term['type']) if 'type' in term else term['constant']['expr']}")
        else:
            parts.append(f"{named}: {bounds(binding['constraint'])}")
    return f"<{', '.join(parts)}>" if parts else ""


def path_of(node):
    return name_of(node["path"]) + args(node.get("args"))


def output(node):
    return f" -> {type_of(node)}" if node else ""


def bound(node):
    if "outlives" in node:
        return node["outlives"]
    if "use" in node:
        return "use<..>"
    inner = node["trait_bound"]
    forall = lifetimes(inner["generic_params"])
    sign = {"none": "", "maybe": "?", "maybe_const": "~const "}.get(inner["modifier"], "")
    return forall + sign + path_of(inner["trait"])


def bounds(nodes):
    return " + ".join(map(bound, nodes))


def lifetimes(params):
    names = [p["name"] for p in params]
    return f"for<{', '.join(names)}> " if names else ""


def type_of(node):
    if isinstance(node, str):
        return node
    kind, inner = next(iter(node.items()))
    if kind == "resolved_path":
        return path_of(inner)
    if kind in ("generic", "primitive"):
        return inner
    if kind == "dyn_trait":
        traits = [lifetimes(t["generic_params"]) + path_of(t["trait"]) for t in inner["traits"]]
        return "dyn " + " + ".join(traits + ([inner["lifetime"]] if inner.get("lifetime") else []))
    if kind == "impl_trait":
        return "impl " + bounds(inner)
    if kind == "tuple":
        return f"({', '.join(map(type_of, inner))})"
    if kind == "slice":
        return f"[{type_of(inner)}]"
    if kind == "array":
        return f"[{type_of(inner['type'])}; {inner['len']}]"
    if kind == "borrowed_ref":
        lifetime = f"{inner['lifetime']} " if inner.get("lifetime") else ""
        mutable = "mut " if inner.get("is_mutable", inner.get("mutable")) else ""
        return f"&{lifetime}{mutable}{type_of(inner['type'])}"
    if kind == "raw_pointer":
        return f"*{'mut' if inner.get('is_mutable') else 'const'} {type_of(inner['type'])}"
    if kind == "qualified_path":
        base, owner = type_of(inner["self_type"]), inner.get("trait")
        if owner and name_of(owner["path"]):
            return f"<{base} as {path_of(owner)}>::{inner['name']}"
        return f"{base}::{inner['name']}"
    if kind == "function_pointer":
        inputs = ", ".join(type_of(t) for _, t in inner["sig"]["inputs"])
        return f"fn({inputs})" + output(inner["sig"]["output"])
    return kind


def generics(node):
    params = []
    for param in node["params"]:
        inner = param["kind"]
        if "lifetime" in inner:
            params.append(param["name"])
        elif "type" in inner:
            # `impl Trait` of an argument is shown where it stands.
            if inner["type"].get("is_synthetic", inner["type"].get("synthetic")):
                continue
            limits = bounds(inner["type"]["bounds"])
            params.append(param["name"] + (f": {limits}" if limits else ""))
        else:
            params.append(f"const {param['name']}: {type_of(inner['const']['type'])}")
    where = []
    for predicate in node["where_predicates"]:
        if "bound_predicate" in predicate:
            inner = predicate["bound_predicate"]
            where.append(f"{type_of(inner['type'])}: {bounds(inner['bounds'])}")
        elif "lifetime_predicate" in predicate:
            inner = predicate["lifetime_predicate"]
            where.append(f"{inner['lifetime']}: {' + '.join(inner['outlives'])}")
    return (f"<{', '.join(params)}>" if params else ""), (f" where {', '.join(where)}" if where else "")


def function(name, inner):
    params, where = generics(inner["generics"])
    inputs = []
    for argument, node in inner["sig"]["inputs"]:
        text = type_of(node)
        if argument == "self":
            inputs.append({"Self": "self", "&Self": "&self", "&mut Self": "&mut self"}.get(text, f"self: {text}"))
        else:
            inputs.append(f"{argument}: {text}")
    header = inner["header"]
    words = [word for word in ("const", "async", "unsafe") if header.get(f"is_{word}", header.get(word))]
    return " ".join(words + ["fn", f"{name}{params}({', '.join(inputs)}){output(inner['sig']['output'])}{where}"])


# --- items

lines, places, undecided = set(), {}, set()


def can_grow(item):
    return any("non_exhaustive" in json.dumps(attribute) for attribute in item["attrs"])


def mark(item):
    return " #[non_exhaustive]" if can_grow(item) else ""


def fields(place, ids, public):
    """A line for each field that users see; whether there are such."""
    seen = False
    for id in ids:
        field = get(id) if id is not None else None
        if field and (public or field["visibility"] == "public"):
            seen = True
            lines.add(f"{place}.{field['name']}: {type_of(field['inner']['struct_field'])}")
    return seen


def struct_fields(place, inner, public=False):
    kind = inner["kind"]
    if kind == "unit" or kind == "plain":
        return False
    return fields(place, kind["plain"]["fields"] if "plain" in kind else kind["tuple"], public)


def variant(place, item):
    lines.add(f"variant {place}{mark(item)}")
    kind = item["inner"]["variant"]["kind"]
    if isinstance(kind, dict):
        ids = kind["struct"]["fields"] if "struct" in kind else kind["tuple"]
        fields(place, ids, True)


def implementations(place, ids):
    for id in ids:
        item = get(id)
        if not item:
            continue
        inner = item["inner"]["impl"]
        if inner.get("is_synthetic", inner.get("synthetic")) or inner.get("blanket_impl"):
            continue
        params, where = generics(inner["generics"])
        if inner["trait"]:
            # The type under the path of the listing; a trait's marks of the compiler say nothing.
            owner = re.sub(rf"^{re.escape(name_of(place))}\b", place, type_of(inner["for"]))
            if path_of(inner["trait"]) != "StructuralPartialEq":
                lines.add(f"impl{params} {path_of(inner['trait'])} for {owner}{where}")
            continue
        for member in map(get, inner["items"]):
            if member and member["visibility"] == "public":
                associated(place, member)


def associated(place, item):
    kind, inner = next(iter(item["inner"].items()))
    name = f"{place}::{item['name']}"
    if kind == "function":
        lines.add(function(name, inner))
    elif kind in ("assoc_const", "constant"):
        lines.add(f"const {name}: {type_of(inner['type'])}")
    elif kind == "assoc_type":
        limits = bounds(inner["bounds"])
        lines.add(f"type {name}" + (f": {limits}" if limits else ""))


def decide(place, item, is_open):
    if is_open and not can_grow(item) and name_of(place) not in EXHAUSTIVE:
        undecided.add(place)


def add(place, item):
    """The item under this path; a second path of the same item is a line of its own."""
    if "#[doc(hidden)]" in json.dumps(item["attrs"]):
        return
    kind, inner = next(iter(item["inner"].items()))
    if kind == "module":
        lines.add(f"mod {place}")
        for child in map(get, inner["items"]):
            if child and child["visibility"] in ("public", "default"):
                enter(place, child)
        return
    known = places.setdefault(item["id"], place)
    if known != place:
        lines.add(f"use {known} as {place}")
        return
    if kind == "function":
        lines.add(function(place, inner))
    elif kind == "struct":
        params, where = generics(inner["generics"])
        lines.add(f"struct {place}{params}{where}{mark(item)}")
        decide(place, item, struct_fields(place, inner))
        implementations(place, inner["impls"])
    elif kind == "enum":
        params, where = generics(inner["generics"])
        lines.add(f"enum {place}{params}{where}{mark(item)}")
        decide(place, item, True)
        for child in map(get, inner["variants"]):
            variant(f"{place}::{child['name']}", child)
        implementations(place, inner["impls"])
    elif kind == "trait":
        params, where = generics(inner["generics"])
        limits = bounds(inner["bounds"])
        lines.add(f"trait {place}{params}" + (f": {limits}" if limits else "") + where)
        for child in map(get, inner["items"]):
            has_body = child["inner"].get("function", {}).get("has_body")
            associated(place, child)
            if has_body:
                lines.add(f"provided {place}::{child['name']}")
        # Those for foreign types; a type of ours names its own.
        for id in inner["implementations"]:
            target = get(id) and get(id)["inner"]["impl"]["for"]
            is_ours = target and "resolved_path" in target and get(target["resolved_path"]["id"])
            if target and not is_ours:
                implementations("", [id])
    elif kind in ("constant", "static"):
        lines.add(f"{kind} {place}: {type_of(inner['type'])}")
    elif kind == "type_alias":
        params, where = generics(inner["generics"])
        lines.add(f"type {place}{params} = {type_of(inner['type'])}{where}")
    else:
        lines.add(f"{kind} {place}")


def enter(place, item):
    use = item["inner"].get("use", item["inner"].get("import"))
    if not use:
        add(f"{place}::{item['name']}", item)
        return
    target = get(use["id"]) if use["id"] is not None else None
    if use.get("is_glob", use.get("glob")):
        for child in map(get, target["inner"]["module"]["items"]) if target else ():
            enter(place, child)
    elif target:
        add(f"{place}::{use['name']}", target)
    else:
        lines.add(f"use {use['source']} as {place}::{use['name']}")


root = get(document["root"])
# The shorter path is the one that users write: items at the root first.
children = [child for child in map(get, root["inner"]["module"]["items"]) if child]
for child in sorted(children, key=lambda child: kind_of(child) == "module"):
    enter("tracing_otlp", child)


def place_of(line):
    """What a line is about: the listing is in the order of the items, each with its members behind it."""
    if line.startswith("impl"):
        return re.split(r"[<\s]", line.rsplit(" for ", 1)[-1].lstrip("&"), maxsplit=1)[0], 1, line
    words = re.sub(r"^((const|async|unsafe|fn|struct|enum|variant|trait|provided|type|mod|use|static) )+", "", line)
    return re.split(r"[<(\s:]", words.replace("::", "\0"), maxsplit=1)[0], 0, line


short = [line.replace("tracing_otlp::", "") for line in lines]
text = "\n".join(sorted(short, key=place_of)) + "\n"
print(f"{len(lines)} lines")
if len(lines) < 500:
    sys.exit("that is not the whole interface: does the script still read rustdoc's format?")
if "--renew" in sys.argv:
    LISTING.write_text(text)
    sys.exit()
difference = [
    line
    for line in difflib.unified_diff(LISTING.read_text().splitlines(), text.splitlines(), lineterm="", n=0)
    if line[:1] in "+-" and line[:3] not in ("+++", "---")
]
print("\n".join(difference))
for place in sorted(undecided):
    print(f"{place}: write #[non_exhaustive], or name it in EXHAUSTIVE of .ci/public_api.py with the reason")
if difference:
    print(
        "The public interface is not that of .ci/public_api.txt. If it shall change, renew the listing:\n"
        "  .ci/run public_api_renew\n"
        "and say in CHANGELOG.md what users have to do."
    )
sys.exit(bool(difference or undecided))
