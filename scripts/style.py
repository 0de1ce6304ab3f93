#!/usr/bin/python3
"""Check what no formatter does: lengths of files and functions, comments on top, READMEs, words that may not stay,
links between pages.

A function is at most 70 lines; a protocol's state machine may be longer and says why in a comment that begins with
`/* Long:` in front of it. A file of src/ is at most 800 lines. Every room has a README.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.S | re.M)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.M)
LEFT_BEHIND = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def c_files(*folders):
    for folder in folders:
        for where, folders_below, names in os.walk(os.path.join(ROOT, folder)):
            folders_below.sort()
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(where, name), ROOT)


def read(path):
    with open(os.path.join(ROOT, path)) as text:
        return text.read()


def long_functions(path, lines):
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = "\n".join(lines[max(0, start - 12):start])
            if number - start - 1 > FUNCTION_LINES_MAX and "/* Long:" not in head:
                yield f"{path}:{start + 1}: a function of {number - start - 1} lines (at most {FUNCTION_LINES_MAX})"
            start = None


def problems_of(path):
    text = read(path)
    lines = text.split("\n")
    ours = path.startswith("src/")
    if ours and len(lines) > FILE_LINES_MAX:
        yield f"{path}: {len(lines)} lines (at most {FILE_LINES_MAX}): it does more than one thing"
    if ours and not text.startswith("/*"):
        yield f"{path}:1: no comment on top that says what it is"
    if path.endswith(".h") and "#pragma once" not in text:
        yield f"{path}: no `#pragma once`"
    for number, line in enumerate(lines):
        if LEFT_BEHIND.search(line):
            yield f"{path}:{number + 1}: something was left behind: {line.strip()}"
    if ours:
        yield from long_functions(path, lines)


def rooms_without_readme():
    src = os.path.join(ROOT, "src")
    for room in sorted(os.listdir(src)):
        files = [name for _, _, names in os.walk(os.path.join(src, room)) for name in names if name.endswith(".c")]
        if files and not os.path.exists(os.path.join(src, room, "README.md")):
            yield f"src/{room}: no README.md"


def pages():
    for where, folders_below, names in os.walk(ROOT):
        folders_below[:] = sorted(name for name in folders_below if name != "build" and not name.startswith("."))
        for name in sorted(names):
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(where, name), ROOT)


def anchors(path):
    """The fragments that a reader of the page on a forge would have: headings in small letters, words joined by `-`."""
    headings = HEADING.findall(re.sub(r"^```.*?^```", "", read(path), flags=re.S | re.M))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path):
    for target in LINK.findall(CODE.sub("", read(path))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        full = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        if not os.path.exists(os.path.join(ROOT, full)):
            yield f"{path}: a link to {target}, which does not exist"
        elif fragment and full.endswith(".md") and fragment not in anchors(full):
            yield f"{path}: a link to {target}, and that page has no such heading"


def main():
    problems = [problem for path in c_files("src", "tests", "fuzz", "bench") for problem in problems_of(path)]
    problems += rooms_without_readme()
    problems += [problem for path in pages() for problem in broken_links(path)]
    print("\n".join(problems + [f"style: {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
