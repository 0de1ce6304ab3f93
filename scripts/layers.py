#!/usr/bin/python3
"""Check that the rooms of src/ include only what src/layers.txt allows, and that src/meson.build links the same.

Run without arguments from anywhere. Prints one line for each violation, with file and line, and exits with 1 when
there is one. What is checked:

- the table has a line for every room, and it is listed below those that it may include;
- each quoted include names an existing file by its path from src/ ("room/file.h"), of a room allowed to the includer;
- two modules of a room marked `apart` (policies, handlers) do not include each other;
- meson.build links each room with the rooms that the table names, no more and no less.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SRC = os.path.join(ROOT, "src")
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


class Table:
    """src/layers.txt: what each room may include, with all that follows from it."""

    def __init__(self, path):
        self.named = {}      # room -> as written
        self.allowed = {}    # room -> with all that these may include
        self.apart = set()
        self.problems = []
        with open(path) as lines:
            for number, line in enumerate(lines, 1):
                line = line.split("#")[0].strip()
                if line:
                    self.read_line(f"{os.path.relpath(path, ROOT)}:{number}", line)

    def read_line(self, where, line):
        name, colon, rest = line.partition(":")
        names = rest.split()
        if not colon:
            self.problems.append(f"{where}: expected `room: rooms`")
        elif name == "apart":
            self.apart = set(names)
        elif name in self.allowed:
            self.problems.append(f"{where}: {name} is here twice")
        elif names == ["*"]:
            self.allowed[name] = set(self.allowed)
        else:
            self.named[name] = set(names)
            self.allowed[name] = self.closure(where, name, names)

    def closure(self, where, name, names):
        result = set()
        for below in names:
            if below not in self.allowed:
                self.problems.append(f"{where}: {name} may include {below}, which is not listed above it")
            else:
                result |= {below} | self.allowed[below]
        return result


def source_files():
    for folder, _, names in sorted(os.walk(SRC)):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(folder, name), SRC)


def includes_of(path):
    """Yields (line number, quoted include) of a file in src/."""
    with open(os.path.join(SRC, path), encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if match:
                yield number, match.group(1)


def module_of(path):
    """The folder inside a room (policies/jwt/x.c -> jwt), or nothing for a file of the room itself."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else None


def check_include(table, path, included):
    """What is wrong with this include, or nothing."""
    room, other = path.split("/")[0], included.split("/")[0]
    if not os.path.isfile(os.path.join(SRC, included)):
        return f'"{included}" is not a path from src/'
    if room != other:
        return None if other in table.allowed[room] else f'{room} may not include {other} ("{included}")'
    if room in table.apart and module_of(path) and module_of(included) not in (None, module_of(path)):
        return f'{room}/{module_of(path)} may not include {room}/{module_of(included)} ("{included}")'
    return None


def check_sources(table):
    problems = []
    for path in source_files():
        room = path.split("/")[0]
        if room not in table.allowed:
            problems.append(f"src/{path}: room {room} is not in src/layers.txt")
            continue
        for number, included in includes_of(path):
            problem = check_include(table, path, included)
            if problem:
                problems.append(f"src/{path}:{number}: {problem}")
    return problems


def read_linked():
    """The `rooms` dictionary of src/meson.build: room -> rooms that it is linked with."""
    with open(os.path.join(SRC, "meson.build")) as file:
        body = re.search(r"^rooms = \{(.*?)^\}", file.read(), re.S | re.M)
    if not body:
        return None
    return {room: set(re.findall(r"'(\w+)'", below))
            for room, below in re.findall(r"'(\w+)':\s*\[(.*?)\]", body.group(1), re.S)}


def check_linked(table):
    linked = read_linked()
    if linked is None:
        return ["src/meson.build: the dictionary `rooms` is not found"]
    problems = []
    for room in sorted(set(table.named) | set(linked)):
        named, below = table.named.get(room), linked.get(room)
        if named is None or below is None:
            problems.append(f"{room} is in {'src/layers.txt' if below is None else 'src/meson.build'} alone")
        elif named != below:
            problems.append(f"src/meson.build: {room} is linked with {' '.join(sorted(below)) or 'nothing'}, "
                            f"src/layers.txt says {' '.join(sorted(named)) or 'nothing'}")
    return problems


def main():
    table = Table(os.path.join(SRC, "layers.txt"))
    problems = table.problems + check_sources(table) + check_linked(table)
    for problem in problems:
        print(problem)
    print(f"layers: {len(table.allowed)} rooms, {len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
