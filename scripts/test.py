#!/usr/bin/python3
"""Run every test and end with one line, `N passed, N failed`.

    scripts/test.py              everything: what `./dev test` and CI run
    scripts/test.py unit black   the steps whose names contain one of these words
    scripts/test.py --list       the steps

A step is a few commands with their output in build/logs/STEP.log; one line each says how it went. A failed step
prints the end of its log.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build")
LOGS = os.path.join(BUILD, "logs")
PYTHON = "/usr/bin/python3"
TAIL_LINES = 60
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:second_deadlock_stack=1:exitcode=66",
}


class Step:
    """One line of the report."""

    def __init__(self, name, run):
        self.name = name
        self.run = run
        self.passed = 0
        self.failed = 0
        self.log = os.path.join(LOGS, name.replace(" ", "-") + ".log")

    def command(self, args, env=None, cwd=ROOT):
        """Runs it into the step's log; returns its exit code."""
        with open(self.log, "a") as log:
            log.write("\n$ " + " ".join(args) + "\n")
            log.flush()
            return subprocess.run(args, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                  env={**os.environ, **(env or {})}, check=False).returncode

    def check(self, args, **options):
        """A command that is one test."""
        if self.command(args, **options) == 0:
            self.passed += 1
        else:
            self.failed += 1

    def note(self, text):
        with open(self.log, "a") as log:
            log.write(text + "\n")


# ---- building ----

def build(step, name, options, compiler="gcc", targets=()):
    """Configures build/NAME when it is not there, and builds it. False, and one failure, when that does not work."""
    where = os.path.join(BUILD, name)
    ready = os.path.exists(os.path.join(where, "build.ninja"))
    # What gcc says of instrumented code is no proof of a mistake (its manual says so); the plain builds are strict.
    strict = "false" if any("b_sanitize" in option for option in options) else "true"
    configure = ["meson", "configure" if ready else "setup", where, f"-Dwerror={strict}", *options]
    if step.command(configure, env={"CC": compiler}) == 0 and step.command(["ninja", "-C", where, *targets]) == 0:
        return True
    step.failed += 1
    return False


# ---- counting ----

CMOCKA = re.compile(r"\[  (PASSED|FAILED)  \] (\d+) test\(s\)")
PLAIN = re.compile(r"^(\d+) passed, (\d+) failed", re.MULTILINE)


def count_outputs(where, since):
    """(passed, failed) of what `meson test` ran: single tests where a program says how many, else programs."""
    passed = failed = 0
    path = os.path.join(where, "meson-logs", "testlog.json")
    if not os.path.exists(path) or os.path.getmtime(path) < since:
        return 0, 1
    with open(path) as log:
        for line in log:
            test = json.loads(line)
            output = test.get("stdout", "") + test.get("stderr", "")
            fine = test["result"] in ("OK", "SKIP")
            counts = CMOCKA.findall(output)
            plain = PLAIN.search(output)
            if counts:
                good = sum(int(n) for word, n in counts if word == "PASSED")
                bad = sum(int(n) for word, n in counts if word == "FAILED")
            elif plain:
                good, bad = int(plain.group(1)), int(plain.group(2))
            else:
                good, bad = int(fine), int(not fine)
            passed += good
            failed += bad if not fine else 0
            failed += int(not fine and bad == 0)
    return passed, failed


def meson_tests(step, name, suites, env=None, tests=()):
    where = os.path.join(BUILD, name)
    began = time.time()
    args = ["meson", "test", "-C", where, "--no-rebuild", "--print-errorlogs", "--timeout-multiplier", "4"]
    for suite in suites:
        args += ["--suite", suite]
    code = step.command([*args, *tests], env=env)
    passed, failed = count_outputs(where, began - 1)
    step.passed += passed
    step.failed += failed if failed or code == 0 else 1


def pytest(step, name, selection=(), env=None):
    """The black-box suite on build/NAME's binary."""
    report = os.path.join(LOGS, step.name.replace(" ", "-") + ".xml")
    if os.path.exists(report):
        os.remove(report)
    args = [PYTHON, "-m", "pytest", "tests/blackbox", "-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider",
            "--junitxml", report, *selection]
    if not has_worksteal():
        args[args.index("worksteal")] = "load"
    # A copy where every user may run it: started as root it becomes `nobody`, who cannot look into /root.
    with tempfile.TemporaryDirectory(prefix="maitred-test-") as folder:
        os.chmod(folder, 0o755)
        binary = shutil.copy(os.path.join(BUILD, name, "src", "main", "maitred"), folder)
        code = step.command(args, env={"MAITRED_BIN": binary, **(env or {})})
    if not os.path.exists(report):
        step.failed += 1
        return
    for suite in xml.etree.ElementTree.parse(report).getroot().iter("testsuite"):
        total, bad = int(suite.get("tests")), int(suite.get("failures")) + int(suite.get("errors"))
        step.passed += total - bad - int(suite.get("skipped"))
        step.failed += bad if bad or code == 0 else 1


def has_worksteal():
    help_text = subprocess.run([PYTHON, "-m", "pytest", "--help"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               cwd="/", check=False, text=True).stdout
    return "worksteal" in help_text


# ---- the steps ----

def step_checks(step):
    step.check([PYTHON, "scripts/layers.py"])
    step.check([PYTHON, "scripts/style.py"])
    step.check([PYTHON, "scripts/format.py", "--check"])


def step_unit(step):
    if build(step, "test", ["-Dbuildtype=debugoptimized", "-Dbench=true"]):
        meson_tests(step, "test", ["unit", "corpus"])


def step_sim(step):
    if build(step, "test", ["-Dbuildtype=debugoptimized", "-Dbench=true"]):
        meson_tests(step, "test", ["sim"])


def step_black_box(step):
    if build(step, "test", ["-Dbuildtype=debugoptimized", "-Dbench=true"]):
        pytest(step, "test")


def step_clang(step):
    """It builds without a warning with clang too, and the tidy check finds nothing."""
    if build(step, "clang", ["-Dbuildtype=debugoptimized"], compiler="clang"):
        step.passed += 1
        step.check([PYTHON, "scripts/tidy.py", os.path.join(BUILD, "clang")])


def step_install(step):
    """A packager's way: plain meson, release, into a folder."""
    where = os.path.join(BUILD, "package")
    shutil.rmtree(os.path.join(BUILD, "installed"), ignore_errors=True)
    fine = os.path.exists(os.path.join(where, "build.ninja")) or step.command(
        ["meson", "setup", where, "--prefix", "/usr", "--sysconfdir", "/etc", "-Dtests=false", "-Dbench=false"]) == 0
    fine = fine and step.command(["meson", "install", "-C", where], env={"DESTDIR": os.path.join(BUILD, "installed")}) == 0
    binary = os.path.join(BUILD, "installed", "usr", "bin", "maitred")
    wanted = [binary, os.path.join(BUILD, "installed", "usr", "share", "man", "man1", "maitred.1"),
              os.path.join(BUILD, "installed", "etc", "maitred", "maitred.yaml")]
    found = fine and all(os.path.exists(path) for path in wanted)
    units = [name for _, _, files in os.walk(os.path.join(BUILD, "installed")) for name in files
             if name == "maitred.service"]
    if found and units and step.command([binary, "check", wanted[2]]) == 0:
        step.passed += 1
    else:
        step.failed += 1


def step_asan(step):
    """The suite again under AddressSanitizer and UndefinedBehaviorSanitizer."""
    if not build(step, "asan", ["-Dbuildtype=debugoptimized", "-Db_sanitize=address,undefined", "-Dbench=false"]):
        return
    env = {**SANITIZERS, "SIM_SEEDS": "150"}
    meson_tests(step, "asan", ["unit", "corpus", "sim"], env=env)
    pytest(step, "asan", ["-m", "not slow"], env=env)


def step_tsan(step):
    """What has several threads, under ThreadSanitizer."""
    if not build(step, "tsan", ["-Dbuildtype=debugoptimized", "-Db_sanitize=thread", "-Dbench=false"]):
        return
    threaded = ["loop/mailbox", "observe/metrics", "observe/access_log", "observe/log", "balance/target",
                "balance/round_robin", "balance/composed", "upstream/try", "upstream/pool"]
    listed = subprocess.run(["meson", "test", "-C", os.path.join(BUILD, "tsan"), "--list"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=False).stdout
    present = [name for name in threaded if name in listed]
    meson_tests(step, "tsan", ["unit"], env=SANITIZERS, tests=present)
    pytest(step, "tsan", ["-m", "tsan"], env=SANITIZERS)


STEPS = [
    ("checks", step_checks),
    ("unit", step_unit),
    ("sim", step_sim),
    ("black box", step_black_box),
    ("clang", step_clang),
    ("install", step_install),
    ("asan", step_asan),
    ("tsan", step_tsan),
]


def run_step(name, run):
    step = Step(name, run)
    if os.path.exists(step.log):
        os.remove(step.log)
    print(f"{name:<10} ", end="", flush=True)
    began = time.time()
    step.run(step)
    fine = "fine" if step.failed == 0 else "FAILED"
    print(f"{fine:<7} {step.passed:>5} passed {step.failed:>3} failed {time.time() - began:>6.0f} s", flush=True)
    if step.failed:
        with open(step.log, errors="replace") as log:
            lines = log.read().splitlines()
        print(f"---- the end of {os.path.relpath(step.log, ROOT)}")
        print("\n".join(lines[-TAIL_LINES:]))
        print("----", flush=True)
    return step


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if "--list" in sys.argv:
        print("\n".join(name for name, _ in STEPS))
        return 0
    os.makedirs(LOGS, exist_ok=True)
    chosen = [(name, run) for name, run in STEPS if not words or any(word in name for word in words)]
    steps = [run_step(name, run) for name, run in chosen]
    passed, failed = sum(step.passed for step in steps), sum(step.failed for step in steps)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
