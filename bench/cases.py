"""The cases: what is asked of each proxy, and what maitred is to reach.

A load case runs `bench_load` with some options against several entries, which are proxies or, for
routes, the same proxy with different configurations. To add a case, add a line to CASES.
"""

from dataclasses import dataclass

PEERS = ("nginx", "haproxy")
PROXIES = ("maitred", *PEERS, "relay")
WITH_SPLICE = ("maitred", *PEERS, "haproxy-splice", "relay", "relay-splice")


@dataclass(frozen=True)
class Entry:
    """One line of a table: a subject in one configuration."""

    label: str
    subject: str
    routes: int = 0
    load: tuple = ()


def entries(names):
    return tuple(Entry(name, name) for name in names)


def routes_entry(count):
    load = ("--path", "/svc{n}/users/{n}", "--paths", str(count))
    return Entry(f"maitred, {count:,} routes", "maitred", count, load)


@dataclass(frozen=True)
class Case:
    """One table. `goal` is the largest CPU ratio of `target` against the better of `base`."""

    name: str
    title: str
    load: tuple
    entries: tuple = entries(PROXIES)
    target: str = "maitred"
    base: tuple = PEERS
    goal: float | None = None
    note: str = ""


@dataclass(frozen=True)
class IdleCase:
    """Private memory for idle connections."""

    name: str
    title: str
    connections: int
    entries: tuple = entries(("maitred", *PEERS))
    target: str = "maitred"
    base: tuple = PEERS
    goal: float | None = None
    note: str = ""


ROUTES = (routes_entry(10), routes_entry(10000))

CASES = (
    Case("small64", "Small responses, 64 kept connections",
         ("--connections", "64", "--path", "/bytes/128", "--expect", "128"), goal=0.85),
    Case("small1000", "Small responses, 1,000 kept connections",
         ("--connections", "1000", "--path", "/bytes/128", "--expect", "128"), goal=0.85),
    Case("body64k", "Bodies of 64 KiB, 64 kept connections",
         ("--connections", "64", "--path", "/bytes/64k", "--expect", "64k"), entries(WITH_SPLICE), goal=0.75),
    Case("body1m", "Bodies of 1 MiB, 16 kept connections",
         ("--connections", "16", "--path", "/bytes/1m", "--expect", "1m"), entries(WITH_SPLICE), goal=0.75),
    Case("newconn", "A new connection for each request, 64 at a time",
         ("--connections", "64", "--path", "/bytes/128", "--expect", "128", "--close"), goal=0.90,
         note="The relay opens an upstream connection for each one too, so it is no floor here."),
    Case("upload64k", "Uploads of 64 KiB, 64 kept connections",
         ("--connections", "64", "--path", "/upload", "--upload", "64k", "--expect", "128"), entries(WITH_SPLICE)),
    Case("upload1m", "Uploads of 1 MiB, 16 kept connections",
         ("--connections", "16", "--path", "/upload", "--upload", "1m", "--expect", "128"), entries(WITH_SPLICE)),
    Case("routes", "10 against 10,000 routes, 64 kept connections",
         ("--connections", "64", "--expect", "128"), ROUTES, target=ROUTES[1].label, base=(ROUTES[0].label,), goal=1.05,
         note="Paths like `/svc00042/users/00042`; the load goes through all of them."),
    IdleCase("idle", "Private memory, 4,000 idle connections", 4000, goal=0.5,
             note="Each connection has had one answer and is kept. `/proc/PID/smaps_rollup`, Private_Clean and "
                  "Private_Dirty, after a warm-up against holding all of them."),
)


def select(names):
    """The cases whose names are listed (or all); raises KeyError with the unknown name."""
    known = {case.name: case for case in CASES}
    return [known[name] for name in names] if names else list(CASES)
