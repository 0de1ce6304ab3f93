"""The benchmark: maitred beside nginx, HAProxy and a raw byte relay, in one run.

The proxy under test has one core, the load and the origin have another; all of it is on loopback and
started here. The report is Markdown on standard output, progress goes to standard error. The exit
status is 0 when everything was measured without an error (goals missed or not), 1 when a request or
a measurement failed, 2 when the run could not start. README.md says how to read the tables.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time

import certificates
import report
from cases import CASES, Entry, IdleCase, select
from measure import (Bench, MeasureError, added_fields, available_entries, run_idle_case, run_load_case, say, skip_key)
from processes import StartError, port_is_free, raise_file_limit
from subjects import ADDED_FIELDS, all_subjects, is_present


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Compare maitred with nginx and HAProxy.",
                                     epilog="cases: " + ", ".join(case.name + "*" * case.optional for case in CASES) +
                                     "; those with * only when they are named")
    parser.add_argument("--build", default="build/release", metavar="DIR", help="the build directory (%(default)s)")
    parser.add_argument("--tools", metavar="DIR", help="where the benchmark's own programs are (BUILD/bench)")
    parser.add_argument("--only", metavar="CASES", help="only these cases, separated by commas")
    parser.add_argument("--subjects", metavar="NAMES", help="only these: " + ", ".join(all_subjects("", "")))
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each case (5)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each measurement (2)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of half a second: a first look, not a result")
    parser.add_argument("--json", metavar="FILE", help="write all samples there too")
    parser.add_argument("--cores", metavar="P,L", help="the proxy's core and the load's (the first two)")
    parser.add_argument("--first-port", type=int, default=18000, metavar="N", help="first of eight ports (%(default)s)")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (0.5 if arguments.quick else 2.0)
    arguments.tools = os.path.abspath(arguments.tools or os.path.join(arguments.build, "bench"))
    if arguments.rounds < 1 or not 0.1 <= arguments.seconds <= 600:
        parser.error("--rounds is at least 1, --seconds between 0.1 and 600")
    return arguments


def refuse(text):
    """End before anything has been measured."""
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(2)


def chosen_cores(text):
    usable = sorted(os.sched_getaffinity(0))
    try:
        cores = [int(core) for core in text.split(",")] if text else usable[:2]
    except ValueError:
        refuse(f"--cores {text}: not two numbers")
    if len(cores) != 2 or cores[0] == cores[1] or not set(cores) <= set(usable):
        refuse(f"two cores are needed, one for the proxy and one for the load; usable are {usable}")
    return cores


def chosen_cases(text):
    try:
        return select([name.strip() for name in text.split(",")] if text else [])
    except KeyError as unknown:
        refuse(f"there is no case {unknown}; there are {', '.join(case.name for case in CASES)}")


def chosen_subjects(text, build, tools):
    subjects = all_subjects(os.path.abspath(build), tools)
    if not text:
        return subjects
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in subjects:
            refuse(f"there is no subject {name}; there are {', '.join(subjects)}")
    return {name: subject for name, subject in subjects.items() if name in names}


def check_tools(tools):
    for name in ("bench_load", "bench_origin", "bench_origin_h2", "bench_relay"):
        if not os.access(os.path.join(tools, name), os.X_OK):
            refuse(f"{os.path.join(tools, name)} is not built: run ./dev build first")


def check_ports(first, count):
    taken = [port for port in range(first, first + count) if not port_is_free(port)]
    if taken:
        refuse(f"ports {', '.join(map(str, taken))} are in use: choose others with --first-port")


def version(subject):
    """What the program says that it is, or nothing."""
    if not subject.version_args or not is_present(subject):
        return ""
    result = subprocess.run([subject.program, *subject.version_args], stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, timeout=10, check=False)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def machine():
    """The processor and the kernel."""
    model = platform.machine()
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def entries_to_check(bench, cases):
    """One entry for each proxy in each setup that the cases use and that HTTP/1 can ask."""
    found = {}
    for case in cases:
        for entry in case.entries:
            setup = entry.setup
            askable = (setup.tls or not setup.h2) and setup.routes == 0
            subject = bench.subjects.get(entry.subject)
            if askable and subject is not None and subject.adds_fields and is_present(subject):
                found[skip_key(entry)] = Entry(entry.subject, entry.subject, setup)
    return found


def check_fields(bench, cases, skipped):
    """Ask each proxy what it adds to a request; returns report lines, and skips those that do not work."""
    lines = []
    for name, entry in entries_to_check(bench, cases).items():
        try:
            added, lost = added_fields(bench, entry)
        except (MeasureError, StartError) as error:
            say(f"bench: {name} is skipped: {error}")
            skipped[name] = str(error)
            continue
        if added != ADDED_FIELDS or lost:
            more, fewer = sorted(added - ADDED_FIELDS), sorted(ADDED_FIELDS - added)
            parts = [f"{text}: {', '.join(names)}" for text, names in
                     (("adds also", more), ("does not add", fewer), ("drops", sorted(lost))) if names]
            lines.append(f"**Not the same fields**: {name} {'; '.join(parts)}. Its numbers are for other work.")
    return lines


def heading(bench, arguments):
    lines = ["## Benchmark", "", f"{machine()}. {time.strftime('%Y-%m-%d %H:%M')}. Proxy on core {bench.proxy_core}, "
             f"load and origin on core {bench.load_core}; {arguments.rounds} rounds of {arguments.seconds:g} s. "
             "Median (smallest to largest round). Ratios are against the better of nginx and HAProxy."]
    versions = [version(subject) for subject in bench.subjects.values()]
    lines += ["", "; ".join(text for text in versions if text) + "."] if any(versions) else []
    return "\n".join(lines)


def run_cases(bench, arguments, cases):
    """Measure everything; prints each section when it is there. Returns (case, result) pairs and skips."""
    results = []
    skipped = {}
    for kind in {entry.setup.tls for case in cases for entry in case.entries if entry.setup.tls}:
        certificates.make(bench.directory, kind)
    with bench.origins():
        notes = check_fields(bench, cases, skipped)
        print(heading(bench, arguments), end="\n\n")
        for case in cases:
            present = available_entries(bench, case, skipped)
            if not present:
                continue
            run = run_idle_case if isinstance(case, IdleCase) else run_load_case
            result = run(bench, case, present)
            results.append((case, result))
            print(report.case_section(case, result), flush=True)
    notes += [f"**Skipped**: {name}, {reason}." for name, reason in skipped.items()]
    return results, notes


def write_json(path, arguments, results):
    document = {"machine": machine(), "rounds": arguments.rounds, "seconds": arguments.seconds,
                "cases": {case.name: result for case, result in results}}
    with open(path, "w") as file:
        json.dump(document, file, indent=1)


def main():
    arguments = parse_arguments()
    cases = chosen_cases(arguments.only)
    cores = chosen_cores(arguments.cores)
    subjects = chosen_subjects(arguments.subjects, arguments.build, arguments.tools)
    check_tools(arguments.tools)
    check_ports(arguments.first_port, len(subjects) + 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    files = raise_file_limit()
    os.sched_setaffinity(0, {cores[1]})
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        os.chmod(directory, 0o755)
        bench = Bench(arguments.tools, subjects, directory, cores, arguments.first_port, files, arguments.rounds,
                      arguments.seconds, min(0.5, arguments.seconds / 2))
        try:
            results, notes = run_cases(bench, arguments, cases)
        except (StartError, certificates.CertificateError) as error:
            refuse(str(error))
    goals = report.goals_table(results)
    if goals:
        print(f"### Goals\n\n{goals}\n")
    if notes:
        print("\n".join(f"- {note}" for note in notes))
    if arguments.json:
        write_json(arguments.json, arguments, results)
    say(f"bench: {time.monotonic() - began:.0f} s")
    return 1 if any(report.has_errors(result) for _, result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
