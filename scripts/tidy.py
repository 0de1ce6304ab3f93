#!/usr/bin/python3
"""Run clang-tidy (.clang-tidy has the checks) over src/ with the compile commands of a build folder."""

import concurrent.futures
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def tidy(build, path):
    done = subprocess.run(["clang-tidy", "-p", build, "--quiet", path], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    return done.returncode, done.stdout


def main():
    build = sys.argv[1]
    with open(os.path.join(build, "compile_commands.json")) as commands:
        entries = json.load(commands)
    paths = sorted({os.path.normpath(os.path.join(entry["directory"], entry["file"])) for entry in entries})
    paths = [path for path in paths if path.startswith(os.path.join(ROOT, "src"))]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for code, output in pool.map(lambda path: tidy(build, path), paths):
            if code != 0:
                failed += 1
                print(output)
    print(f"tidy: {len(paths)} files, {failed} with findings")
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
