"""Measuring: one load against one freshly started proxy at a time, in interleaved rounds.

    round 1   closed loop: maitred nginx haproxy relay     -> the offered rate is fixed from these
              offered rate: maitred nginx haproxy relay
    round 2   closed loop: nginx haproxy relay maitred     (one further each round)
              ...

Only neighbours in time are compared with each other: a ratio is taken within a round, where both
sides have met the same noise. Each measurement has a new process, so that the luck of one memory
layout does not stay for the whole run.
"""

import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

from processes import Server, StartError, connection_to, core_busy_ns, on_core
from subjects import Places, is_present

SMALL = ("--path", "/bytes/128", "--expect", "128")
RATE_SHARE = 0.6        # of the slowest entry's closed-loop rate
LOAD_MARGIN_S = 90      # beyond this a load is hung; it has an alarm of its own before that
SETTLE_READS = 10       # memory is read until two readings agree, at most so often
SETTLE_S = 0.1


class MeasureError(Exception):
    """A measurement that gave no numbers; the message says why."""


def say(text):
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """Where and how everything runs. The origin is started by run.py and lives as long as this."""

    def __init__(self, tools, subjects, directory, cores, first_port, files, rounds, seconds, warmup):
        self.load_program = os.path.join(tools, "bench_load")
        self.tools = tools
        self.subjects = subjects
        self.directory = directory
        self.proxy_core, self.load_core = cores
        self.origin_port, self.origin_h2_port = first_port, first_port + 1
        self.ports = {name: first_port + 2 + index for index, name in enumerate(subjects)}
        self.files = files
        self.rounds = rounds
        self.seconds = seconds
        self.warmup = warmup

    def origin(self, program, port, h2=False):
        """An origin, as a context manager."""
        argv = [os.path.join(self.tools, program), f"127.0.0.1:{port}"]
        return Server(program, argv, port, self.load_core, self.directory, h2=h2)

    @contextmanager
    def origins(self):
        """The origins of HTTP/1 and HTTP/2, ready. The one that a case does not use sleeps."""
        with self.origin("bench_origin", self.origin_port) as one, \
                self.origin("bench_origin_h2", self.origin_h2_port, h2=True) as two:
            one.wait_ready()
            two.wait_ready()
            yield

    def proxy(self, entry):
        """The entry's proxy, started but not yet waited for, as a context manager."""
        subject = self.subjects[entry.subject]
        port = self.ports[entry.subject]
        setup = entry.setup
        places = Places(self.directory, port, self.origin_port if setup.up == "h1" else self.origin_h2_port, self.files)
        argv = subject.command(subject.program, places, setup)
        return Server(entry.subject, argv, port, self.proxy_core, self.directory, tls=bool(setup.tls),
                      h2=setup.h2 and not setup.tls)

    def load_argv(self, server, options):
        argv = [self.load_program, *map(str, options)]
        for pid in server.pids:
            argv += ["--watch", str(pid)]
        return [*argv, f"127.0.0.1:{server.port}"]


def run_load(bench, server, options):
    """Run the load generator once; returns its numbers."""
    result = subprocess.run(bench.load_argv(server, options), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            preexec_fn=on_core(bench.load_core), timeout=bench.seconds + LOAD_MARGIN_S, check=False)
    if result.returncode != 0:
        raise MeasureError(f"the load ended with status {result.returncode}: {result.stderr.strip()}")
    return json.loads(result.stdout)


def measure_load(bench, entry, options):
    """One measurement against a fresh proxy."""
    timing = ("--seconds", bench.seconds, "--warmup", bench.warmup)
    with bench.proxy(entry) as server:
        server.wait_ready()
        wall, busy, own = time.monotonic_ns(), core_busy_ns(bench.proxy_core), server.cpu_ns()
        numbers = run_load(bench, server, (*options, *timing))
        own = server.cpu_ns() - own
        busy = core_busy_ns(bench.proxy_core) - busy
        wall = time.monotonic_ns() - wall
        if not server.is_unchanged():
            raise MeasureError(f"it lost or changed its processes during the load: {server.log_tail()}")
    requests = numbers["requests"]
    if requests == 0:
        raise MeasureError(f"no request was answered: {numbers['error_names']}")
    if numbers["cpu_ns"] == 0:
        raise MeasureError("no processor time was booked for its processes")
    numbers["cpu_us"] = numbers["cpu_ns"] / 1e3 / requests
    numbers["busy"] = numbers["cpu_ns"] / 1e9 / numbers["seconds"]
    numbers["foreign"] = max(0.0, (busy - own) / wall)
    return numbers


def measure_idle(bench, entry, connections):
    """Private memory per idle connection against a fresh proxy."""
    small = (*SMALL, *entry.setup.load())
    with bench.proxy(entry) as server:
        server.wait_ready()
        warm = run_load(bench, server, (*small, "--connections", 64, "--requests", 2000, "--warmup", 0))
        before = settled_memory(server)
        argv = bench.load_argv(server, (*small, "--connections", connections, "--idle"))
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              preexec_fn=on_core(bench.load_core)) as load:
            try:
                opened = json.loads(load.stdout.readline() or "{}")
                after = settled_memory(server)
                held = json.loads(load.communicate(timeout=30)[0] or "{}")
            finally:
                load.kill()
        if not server.is_unchanged():
            raise MeasureError(f"it lost or changed its processes: {server.log_tail()}")
    if opened.get("open") != connections or held.get("open") != connections:
        raise MeasureError(f"of {connections} connections {opened.get('open')} were opened and {held.get('open')} "
                           f"kept: {opened.get('error_names')}")
    return {"before": before, "after": after, "bytes_each": (after - before) / connections,
            "tls": held["tls"], "errors": warm["errors"] + held["errors"],
            "error_names": {**warm["error_names"], **held["error_names"]}}


def settled_memory(server):
    """Private memory, read until two readings in a row agree."""
    last = server.private_bytes()
    for _ in range(SETTLE_READS):
        time.sleep(SETTLE_S)
        now = server.private_bytes()
        if now == last:
            break
        last = now
    return last


def added_fields(bench, entry):
    """The names of the request fields that reach the origin and were not sent, and of those lost."""
    sent = {"Host": "bench.example", "User-Agent": "bench/1.0", "Accept": "*/*"}
    with bench.proxy(entry) as server:
        server.wait_ready()
        connection = connection_to(server.port, server.tls)
        try:
            connection.putrequest("GET", "/echo", skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            head = response.read().decode("latin-1")
        except (OSError, http.client.HTTPException) as error:
            raise MeasureError(f"it does not answer: {error!r}") from error
        finally:
            connection.close()
    if response.status != 200:
        raise MeasureError(f"it answers {response.status}")
    seen = {line.split(":", 1)[0].lower() for line in head.split("\r\n")[1:] if ":" in line}
    known = {name.lower() for name in sent}
    return seen - known, known - seen


def skip_key(entry):
    """What is skipped when a subject does not work in one setup."""
    return f"{entry.subject} ({entry.setup.text()})"


def available_entries(bench, case, skipped):
    """The case's entries whose program is there and works; `skipped` maps the others to the reason."""
    found = []
    for entry in case.entries:
        subject = bench.subjects.get(entry.subject)
        if subject is None or entry.subject in skipped or skip_key(entry) in skipped:
            continue
        if is_present(subject):
            found.append(entry)
        else:
            skipped[entry.subject] = subject.missing or f"{subject.program} is not there"
            say(f"bench: {entry.subject} is skipped: {skipped[entry.subject]}")
    return found


def attempt(samples, failures, label, function, *arguments):
    """Take one sample, or note why there is none."""
    try:
        sample = function(*arguments)
    except (MeasureError, StartError, subprocess.TimeoutExpired) as error:
        say(f"    {label}: {error}")
        failures[label] = str(error)
        sample = None
    samples[label].append(sample)
    return sample


def offered_rate(samples):
    """The rate for all entries: a share of what the slowest reached in the first round."""
    reached = [taken[0]["rps"] for taken in samples.values() if taken[0] is not None]
    return max(1, int(min(reached) * RATE_SHARE)) if reached else None


def rotated(items, by):
    by %= len(items)
    return items[by:] + items[:by]


def run_load_case(bench, case, present):
    """All rounds of a load case. Returns the closed-loop and the offered-rate samples by label, each
    with one item a round (None: failed), the rate, and the failures by label."""
    closed = {entry.label: [] for entry in present}
    paced = {entry.label: [] for entry in present}
    failures = {}
    rate = None
    load = {entry.label: (*entry.setup.load(), *case.load, *entry.load) for entry in present}
    for number in range(bench.rounds):
        order = rotated(present, number)
        say(f"  {case.name}: round {number + 1} of {bench.rounds}")
        for entry in order:
            sample = attempt(closed, failures, entry.label, measure_load, bench, entry, load[entry.label])
            if sample:
                say(f"    {entry.label}: {sample['cpu_us']:.2f} us, {sample['rps']:.0f}/s")
        rate = rate or offered_rate(closed)
        for entry in order:
            if rate is not None:
                options = (*load[entry.label], "--rate", rate)
                attempt(paced, failures, entry.label, measure_load, bench, entry, options)
    return {"closed": closed, "paced": paced, "rate": rate, "failures": failures}


def run_idle_case(bench, case, present):
    """All rounds of the memory case, in the same form."""
    idle = {entry.label: [] for entry in present}
    failures = {}
    for number in range(bench.rounds):
        say(f"  {case.name}: round {number + 1} of {bench.rounds}")
        for entry in rotated(present, number):
            attempt(idle, failures, entry.label, measure_idle, bench, entry, case.connections)
    return {"idle": idle, "failures": failures}
