"""A running maitred: its configuration, its signals, its logs, its figures, and a clean end."""
import ctypes
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

from . import ports
from .notify import NotifySocket
from .wire import connect

ROOT = Path(__file__).resolve().parents[3]
BINARY = str(Path(os.environ.get("MAITRED_BIN") or ROOT / "build/test/src/main/maitred").resolve())
POOLED_PIPES_MAX = 2 * 2 * 192  # descriptors: kernel pipes for spliced bodies that two workers keep

_text = Path(BINARY).read_bytes() if Path(BINARY).exists() else b""
SANITIZED = b"__asan_init" in _text or b"__tsan_init" in _text
THREAD_SANITIZED = b"__tsan_init" in _text
del _text

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what an upgrade starts becomes ours to wait for


def wait_until(condition, what, timeout=15):
    """For what makes no event that a test could wait for: the state of another process."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen in {timeout} s: {what() if callable(what) else what}")
        time.sleep(0.01)


class Lines:
    """A growing list of lines read from a pipe, and a way to wait for one."""

    def __init__(self, pipe, parse):
        self.items, self.changed, self.parse = [], threading.Condition(), parse
        self.thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self.thread.start()

    def _read(self, pipe):
        with pipe:
            for line in pipe:
                item = self.parse(line.rstrip("\n"))
                with self.changed:
                    self.items.append(item)
                    self.changed.notify_all()

    def wait(self, predicate, what, timeout=15, count=1, since=0):
        """The first `count` items that fit (one: the item itself), from that index on."""
        with self.changed:
            found = []

            def enough():
                found[:] = [i for i in self.items[since:] if predicate(i)]
                return len(found) >= count

            if not self.changed.wait_for(enough, timeout):
                raise AssertionError(f"no line {what} among the last: {self.items[-8:]}")
            return found[0] if count == 1 else found[:count]

    def has(self, predicate):
        with self.changed:
            return any(predicate(i) for i in self.items)


def _parse_access(line):
    return json.loads(line) if line.startswith("{") else line


def _parse_error(line):
    match = re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|notice|warning|error) ([a-z_-]+): (.*)\Z", line)
    return match.groups() if match else ("raw", "", line)


class Gateway:
    def __init__(self, folder, config, arguments=None, env=None, notify=True):
        self.folder = Path(folder)
        self.config_path = self.folder / "gateway.yaml"
        self.allowed = []  # texts that may stand in warnings and errors
        self.old = []      # processes that an upgrade has replaced
        self.port = self.admin_port = self.pid = None
        self.config = config
        if config is not None:
            self.write(config)
        self.arguments = arguments or ["run", "-c", str(self.config_path)]
        self.notify = NotifySocket(str(self.folder / "notify.sock")) if notify else None
        self.reports = self.folder / "reports"
        self.reports.mkdir(exist_ok=True)
        self.reports.chmod(0o777)
        self.env = dict(os.environ, **(env or {}))
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
            extra = {"ASAN_OPTIONS": ":quarantine_size_mb=8", "UBSAN_OPTIONS": ":print_stacktrace=1"}.get(name, "")
            self.env[name] = f"{os.environ.get(name, '')}{extra}:log_path={self.reports}/report".lstrip(":")
        if notify:
            self.env["NOTIFY_SOCKET"] = self.notify.path

    # ---- its life ----

    def write(self, config):
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        temporary = self.config_path.with_suffix(".new")
        temporary.write_text(text)
        temporary.chmod(0o644)
        temporary.rename(self.config_path)

    def start(self, binary=None):
        self.process = subprocess.Popen([binary or BINARY, *self.arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="surrogateescape", env=self.env, cwd=self.folder)
        self.pid = self.process.pid
        self.access = Lines(self.process.stdout, _parse_access)
        self.errors = Lines(self.process.stderr, _parse_error)
        if self.notify:
            self._wait_ready()
        else:
            self.errors.wait(lambda e: "serves with" in e[2], "that it serves")
        self._note_descriptors()
        return self

    def _note_descriptors(self):
        """Behind a round trip to the control thread, so that what start-up opened for a moment is closed."""
        if self.admin_port:
            with connect(self.admin_port) as wire:
                wire.get("/healthz", host="localhost", fields=[("Connection", "close")])
                assert wire.is_closed()
        self.descriptors_at_start = self.descriptors()

    def _wait_ready(self, timeout=30):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._heard_ready():
                return
            if self.process.poll() is not None:
                self.errors.thread.join(5)
                raise AssertionError(f"ended with {self.process.returncode} instead of serving: {self.errors.items}")
        raise AssertionError(f"not ready in {timeout} s: {self.errors.items}")

    def _heard_ready(self):
        try:
            message = self.notify.next(0.05)
        except AssertionError:
            return False
        assert "READY" not in message or int(message["MAINPID"]) == self.pid
        return "READY" in message

    def kill(self, number):
        os.kill(self.pid, number)

    def reload(self, config=None):
        """HUP, and waits until it is in force everywhere (or refused)."""
        if config is not None:
            self.config = config
            self.write(config)
        self.kill(signal.SIGHUP)
        self.notify.wait_for("RELOADING")
        self.notify.wait_for("READY")

    def upgrade(self):
        """USR2, and waits until the new process says that it serves; the old one drains."""
        self.old.append(self.pid)
        self.kill(signal.SIGUSR2)
        while True:
            message = self.notify.wait_for("MAINPID", 30)
            if int(message["MAINPID"]) != self.pid:
                break
        self.pid = int(message["MAINPID"])
        self._note_descriptors()
        return self

    def _exit_code(self, pid, timeout):
        if pid == self.process.pid:
            return self.process.wait(timeout)
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return 0  # the process that started it was there to hear of its end
        try:
            if not select.select([fd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("maitred", timeout)
        finally:
            os.close(fd)
        return wait_until(lambda: _reap(pid), "the upgraded process becomes ours")[0]

    def wait_for_old(self, timeout=20):
        """The processes that upgrades replaced have drained and ended well."""
        for pid in self.old:
            assert self._exit_code(pid, timeout) == 0
        self.old = []

    def stop(self, number=signal.SIGTERM, timeout=20):
        """The exit code."""
        self.wait_for_old(timeout)
        self.kill(number)
        code = self._exit_code(self.pid, timeout)
        self.pid = None
        return code

    def allow(self, *texts):
        """The error log may hold warnings and errors with these texts."""
        self.allowed += texts
        return self

    def finish(self):
        """What must hold at the end of every test."""
        if self.pid is None:
            self._finish_logs()
            return
        try:
            self._check_descriptors()
            assert self.stop() == 0, self.errors.items
        finally:
            self._kill()
        self._finish_logs()

    def _finish_logs(self):
        for lines in (self.access, self.errors):
            lines.thread.join(10)
        if self.notify:
            self.notify.close()
        self.check_reports()
        bad = [e for e in self.errors.items if e[0] in ("warning", "error", "raw") and not any(t in e[2] for t in self.allowed)]
        assert not bad, bad

    def check_reports(self):
        reports = "\n".join(p.read_text(errors="replace") for p in self.reports.iterdir())
        assert not reports, reports

    def _kill(self):
        for pid in [*self.old, self.pid, self.process.pid]:
            if pid and (pid != self.process.pid or self.process.poll() is None):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait()

    # ---- what can be seen of it ----

    def descriptors(self):
        """What each open descriptor is."""
        folder, found = f"/proc/{self.pid}/fd", {}
        for fd in os.listdir(folder):
            try:
                found[int(fd)] = os.readlink(f"{folder}/{fd}")
            except FileNotFoundError:
                pass  # was the listing's own, or closed meanwhile
        return found

    def _check_descriptors(self):
        """Nothing but kept connections and pooled pipes has been added since the start."""
        if not self.admin_port:
            return

        def added():
            figures = {name: sum(v for _, v in series) for name, series in self.metrics(("maitred_connections", "maitred_upstream_conn")).items()}
            idle = figures.get("maitred_upstream_connections_idle", 0)
            count = lambda fds, pipes: sum(1 for t in fds.values() if t.startswith("pipe:") == pipes)
            now, before = self.descriptors(), self.descriptors_at_start
            return (count(now, False) - count(before, False) - idle, count(now, True) - count(before, True),
                    figures["maitred_connections"], figures.get("maitred_upstream_connections_busy", 0))

        seen = []

        def nothing_left():
            seen[:] = added()
            return seen[0] <= 0 and seen[1] <= POOLED_PIPES_MAX and seen[2] == 0 and seen[3] == 0

        wait_until(nothing_left, lambda: f"no descriptor left over: sockets, pipes, clients, busy: {seen}; {self.descriptors()}", 10)

    def rss(self):
        """Resident bytes that are its own."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", text)[1]) * 1024

    def line(self, timeout=15, since=0, **wanted):
        """The first access log line with these members."""
        return self.access.wait(lambda l: isinstance(l, dict) and all(l.get(k) == v for k, v in wanted.items()), f"with {wanted}", timeout, since=since)

    def lines(self, count, **wanted):
        return self.access.wait(lambda l: isinstance(l, dict) and all(l.get(k) == v for k, v in wanted.items()), f"with {wanted}", count=count)

    def admin(self, path):
        with connect(self.admin_port) as wire:
            return wire.get(path, host="localhost", fields=[("Connection", "close")])

    def metrics(self, prefix="maitred_"):
        """{name: [(labels, value)]}"""
        found = {}
        for line in self.admin("/metrics").text.splitlines():
            if line.startswith(prefix):
                name, labels, value = re.match(r"([a-zA-Z_:]+)(?:\{(.*)\})? (\S+)", line).groups()
                pairs = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
                found.setdefault(name, []).append((pairs, float(value)))
        return found

    def metric(self, name, **labels):
        """The sum over all series that have these labels."""
        return sum(v for l, v in self.metrics(name).get(name, []) if all(l.get(k) == w for k, w in labels.items()))

    def wait_for_metric(self, wanted, name, **labels):
        seen = []

        def fits():
            seen[:] = [self.metric(name, **labels)]
            return wanted(seen[0]) if callable(wanted) else seen[0] == wanted

        wait_until(fits, lambda: f"{name} {labels} is {seen}")

    # ---- talking to it ----

    def connect(self, **more):
        return connect(self.port, **more)

    def get(self, target="/", **more):
        """On a connection of its own."""
        with self.connect() as wire:
            return wire.get(target, **more)


def _reap(pid):
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None  # its parent, the old process, has not ended yet
    return (os.waitstatus_to_exitcode(status),) if done else None


def base_config(port, admin_port, **sections):
    """A complete configuration: what a test does not care about, and its own sections."""
    config = {"listeners": [f"127.0.0.1:{port}"], "admin": f"127.0.0.1:{admin_port}", "access_log": "stdout", "workers": 2}
    if os.geteuid() == 0:
        config["user"] = "root"
    config.update(sections)
    config.setdefault("routes", [{"respond": 200}])
    return {name: value for name, value in config.items() if value is not None}


def upstream(*origins, **settings):
    """An upstream of these origins (or addresses)."""
    return {"targets": [getattr(o, "address", o) for o in origins], **settings}


def run(*arguments, env=None, input=None, cwd=None):
    """One command to its end."""
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=30, input=input, cwd=cwd,
                          env=dict(os.environ, **(env or {})))


__all__ = ["BINARY", "ROOT", "SANITIZED", "THREAD_SANITIZED", "Gateway", "base_config", "ports", "run", "upstream", "wait_until"]
