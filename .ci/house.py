"""The closing table of the house: how large the crate is, and how much of it breaks a rule.

    house.py [ROOT]    the figures of that checkout; without ROOT, of this one

Lines of code are those of `src/` without tests, comments and blank lines. The rules themselves are held by
`tests/repository`, whose lists of exceptions are counted here.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
SRC = ROOT / "src"


def is_test(path):
    name = path.relative_to(SRC).as_posix()
    return name.endswith("tests.rs") or "/tests/" in name or name == "processor/loom.rs"


def without_tests(text):
    """A module of tests ends its file."""
    at = text.find("\nmod tests {")
    return text if at < 0 else text[:at]


def code_lines(text):
    return [line for line in text.splitlines() if line.strip() and not line.strip().startswith("//")]


def functions(text):
    """Name and length of each function, by the indentation that rustfmt gives."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        begin = re.match(r"( *)(?:pub(?:\([a-z: ]*\))? )?(?:const |async |unsafe )*fn (\w+)", line)
        if begin:
            # A declaration without a body ends with its first semicolon at the end of a line.
            head = next(n for n, later in enumerate(lines[at:]) if later.endswith(("{", ";", "}")))
            if lines[at + head].endswith("{"):
                end = begin.group(1) + "}"
                yield begin.group(2), lines[at:].index(end) + 1
            elif lines[at + head].endswith("}"):
                yield begin.group(2), head + 1


def entries(test, constant):
    """Entries of a list of exceptions in `tests/repository`; `None` where there is no such test."""
    path = ROOT / "tests/repository" / test
    if not path.exists():
        return None
    found = re.search(rf"const {constant}: .*?= &\[(.*?)^\];", path.read_text(), re.S | re.M)
    return found and len(re.findall(r"^    \(", found.group(1), re.M))


def public_names(text):
    """Names that `lib.rs` makes public, modules aside."""
    names = set()
    for use in re.findall(r"^pub use ([^;]+);", text, re.M):
        inner = use.split("{", 1)[1] if "{" in use else use.rsplit("::", 1)[-1]
        names |= {name for name in re.findall(r"[A-Za-z_]\w*(?!\w|\s*::)", inner)} - {"self", "as"}
    return names | set(re.findall(r"^pub (?:fn|struct|enum|trait|type|const) (\w+)", text, re.M))


files = sorted(path for path in SRC.rglob("*.rs"))
plain = {path: without_tests(path.read_text()) for path in files if not is_test(path)}
definition = re.compile(r"^(?:pub(?:\([a-z:: ]*\))? )?(?:struct|enum|trait|type|union) (\w+)", re.M)
homes = {}
for path, text in plain.items():
    # Files that replace a module in another build define its names again.
    is_replacement = path.name.startswith("no_") and path.name != "no_sigpipe.rs"
    if not is_replacement and path.relative_to(SRC).as_posix() != "graceful/ctrl_c.rs":
        for name in set(definition.findall(text)):
            homes.setdefault(name, set()).add(path)
identifier = re.compile(r"\b(?:TR|OTLP|SMP|BSP|ENV|LOG|HTTP|RPC|RES|W3C|LIM|ERR|MET|PAIN)[- ]\d+\b")
doc = re.compile(r"^\s*//[/!].*$", re.M)


def ids_in_public_docs():
    """Ids in the docs of a public item or at the head of a file of public items."""
    count = 0
    for text in plain.values():
        lines = text.splitlines()
        for at, line in enumerate(lines):
            if not re.match(r"\s*///", line) or not identifier.search(line):
                continue
            item = next((later for later in lines[at:] if not re.match(r"\s*(///|#\[)", later)), "")
            count += bool(re.match(r"\s*pub (?!\()", item)) * len(identifier.findall(line))
    return count


lengths = sorted(length for text in plain.values() for _, length in functions(text))
listing = ROOT / ".ci/public_api.txt"
root = public_names((SRC / "lib.rs").read_text())
rows = [
    ("files of `src/`, tests aside", len(plain)),
    ("lines of code", sum(len(code_lines(text)) for text in plain.values())),
    ("lines of tests in `src/`", sum(len(code_lines(path.read_text())) for path in files) - sum(len(code_lines(t)) for t in plain.values())),
    ("imports that close a circle of files", entries("no_circle_of_files.rs", "CLOSES_A_CIRCLE")),
    ("names of types in two files or more", sum(len(paths) > 1 for paths in homes.values())),
    ("public names at the root", len(root)),
    ("lines of the public interface", len(listing.read_text().splitlines()) if listing.exists() else None),
    ("methods `with_*` of the builder", len(re.findall(r"pub fn with_", "".join(t for p, t in plain.items() if p.relative_to(SRC).parts[0] == "builder")))),
    ("ids of rules in public docs", ids_in_public_docs()),
    ("functions over 50 lines", sum(length > 50 for length in lengths)),
    ("median lines of a function", lengths[len(lengths) // 2]),
    ("files over 400 lines, tests in them included", sum(len(path.read_text().splitlines()) > 400 for path in files)),
]
for what, figure in rows:
    print(f"| {what} | {'–' if figure is None else figure:,} |" if isinstance(figure, int) else f"| {what} | – |")
