"""Starting, pinning, watching and ending the processes of a benchmark.

Every process is a child of this one: it dies with it (PR_SET_PDEATHSIG), writes its complaints to
a file of its own, and is ended by its process id. Nothing is looked up by name, so that a proxy
which runs on the machine for another reason is never touched.
"""

import ctypes
import http.client
import os
import resource
import signal
import socket
import ssl
import subprocess
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
FILES_WANTED = 65536
POLL_S = 0.01


class StartError(Exception):
    """A process that did not come up; the message says why."""


def raise_file_limit():
    """Raise the limit on open files for this process and its children; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_WANTED:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_WANTED, FILES_WANTED))
        except (ValueError, PermissionError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_WANTED, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def on_core(core):
    """The function that a child runs before exec: pins it and ties its life to ours."""
    parent = os.getpid()

    def prepare():
        os.sched_setaffinity(0, {core})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def port_is_free(port):
    """Whether nothing listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Server:
    """A process that listens on a loopback port, from its start to its end; a context manager."""

    def __init__(self, name, argv, port, core, directory, tls=False, h2=False):
        self.name = name
        self.port = port
        self.ask = (ask_h2, port) if h2 else (ask, port, tls)
        self.tls = tls
        self.log = os.path.join(directory, f"{name}.log")
        with open(self.log, "wb") as log:
            try:
                self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                cwd=directory, preexec_fn=on_core(core))
            except OSError as error:
                raise StartError(f"{name}: {argv[0]}: {error.strerror}") from error
        self.pids = [self.process.pid]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_ready(self, seconds=30.0):
        """Wait until a request is answered; raises StartError with the end of the log.

        A connection alone proves too little: the port of a program with worker processes is open before
        the workers are there, and whoever looks for its processes then would miss the one that works.
        """
        deadline = time.monotonic() + seconds
        reason = ""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartError(f"{self.name} ended with status {self.process.returncode}: {self.log_tail()}")
            reason = self.ask[0](*self.ask[1:])
            if reason is None:
                self.pids = family(self.process.pid)
                return
            # Another process's bind() is no event that could be waited for.
            time.sleep(POLL_S)
        raise StartError(f"{self.name} does not answer within {seconds:.0f} s ({reason}): {self.log_tail()}")

    def is_unchanged(self):
        """Whether it still has the processes that it had when it became ready."""
        return self.process.poll() is None and family(self.process.pid) == self.pids

    def log_tail(self):
        """The last lines that the process has written."""
        with open(self.log, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
        return " / ".join(lines[-4:]) or "it says nothing"

    def cpu_ns(self):
        """Processor time of all threads of the process and its children."""
        return sum(process_cpu_ns(pid) for pid in self.pids)

    def private_bytes(self):
        """Private memory, clean and dirty, of the process and its children."""
        return sum(process_private_bytes(pid) for pid in self.pids)

    def stop(self):
        """End the process and its children, by force when they do not go."""
        if self.process.poll() is not None:
            return
        self.pids = family(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(5.0)
            return
        except subprocess.TimeoutExpired:
            pass
        # The parent is still ours and unreaped, so its children's ids have not been given to others.
        for pid in family(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


def connection_to(port, tls, seconds=5):
    """An HTTP/1 client for a loopback port; over TLS it takes any certificate."""
    if not tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=seconds, context=context)


def ask_h2(port):
    """Begin HTTP/2 in clear on a loopback port; returns None when SETTINGS come back, or what happened."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    empty_settings = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(preface + empty_settings)
            answer = connection.makefile("rb").read(9)
    except OSError as error:
        return repr(error)
    return None if len(answer) == 9 and answer[3] == 4 else f"no SETTINGS of HTTP/2 but {answer!r}"


def ask(port, tls):
    """Send one request to a loopback port; returns None when it is answered with 200, or what happened."""
    connection = connection_to(port, tls)
    try:
        connection.request("GET", "/bytes/1")
        response = connection.getresponse()
        response.read()
        return None if response.status == 200 else f"status {response.status}"
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def family(pid):
    """The process and its descendants."""
    pids = [pid]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return pids
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as children:
                for child in children.read().split():
                    pids += family(int(child))
        except FileNotFoundError:
            continue
    return pids


def process_cpu_ns(pid):
    """Nanoseconds on a processor, over all threads."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as schedstat:
                total += int(schedstat.read().split()[0])
    except FileNotFoundError:
        pass
    return total


def process_private_bytes(pid):
    """Private_Clean and Private_Dirty of a process."""
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1]) * 1024
    return total


def core_busy_ns(core):
    """Time that a core has not been idle, whoever used it (to a tick of 10 ms)."""
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    with open("/proc/stat") as stat:
        for line in stat:
            if line.startswith(f"cpu{core} "):
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
                return (user + nice + system + irq + softirq + steal) * tick_ns
    raise LookupError(f"there is no core {core}")
