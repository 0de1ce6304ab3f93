"""The cases: what is asked of each proxy, and what maitred is to reach.

A load case runs `bench_load` with some options against several entries, which are proxies or, for
routes, the same proxy with different configurations. To add a case, add a line to CASES.
"""

from dataclasses import dataclass

from subjects import Setup

PEERS = ("nginx", "haproxy")
PROXIES = ("maitred", *PEERS, "relay")
WITH_SPLICE = ("maitred", *PEERS, "haproxy-splice", "relay", "relay-splice")


@dataclass(frozen=True)
class Entry:
    """One line of a table: a subject in one configuration."""

    label: str
    subject: str
    setup: Setup = Setup()
    load: tuple = ()


def entries(names, setup=Setup()):
    return tuple(Entry(name, name, setup) for name in names)


def routes_entry(count):
    load = ("--path", "/svc{n}/users/{n}", "--paths", str(count))
    return Entry(f"maitred, {count:,} routes", "maitred", Setup(routes=count), load)


@dataclass(frozen=True)
class Case:
    """One table. `goal` is the largest CPU ratio of `target` against the better of `base`.

    An optional case is only measured when it is named.
    """

    name: str
    title: str
    load: tuple
    entries: tuple = entries(PROXIES)
    target: str = "maitred"
    base: tuple = PEERS
    goal: float | None = None
    note: str = ""
    unit: str = "request"
    optional: bool = False


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
    optional: bool = False


ROUTES = (routes_entry(10), routes_entry(10000))

COMPARED = ("maitred", *PEERS)
TLS = Setup(tls="ecdsa")
TLS_RSA = Setup(tls="rsa")
TLS_H2 = Setup(tls="ecdsa", h2=True)
TLS_H2_H2 = Setup(tls="ecdsa", h2=True, up="h2")
GRPC = Setup(h2=True, up="grpc")
TLS_GRPC = Setup(tls="ecdsa", h2=True, up="grpc")

SMALL = ("--path", "/bytes/128", "--expect", "128")
NEW = ("--connections", "64", "--close", *SMALL)
STREAMS = ("--connections", "16", "--streams", "32")

HANDSHAKE_NOTE = ("Each connection carries one small request and is closed by the proxy; all of it is counted. The "
                  "load's side of a handshake costs as much, so its core is the one that is full.")

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
    Case("tls64", "Small responses over TLS, 64 kept connections",
         ("--connections", "64", *SMALL), entries(COMPARED, TLS), goal=0.90),
    Case("tls64k", "Bodies of 64 KiB over TLS, 64 kept connections",
         ("--connections", "64", "--path", "/bytes/64k", "--expect", "64k"), entries(COMPARED, TLS), goal=0.90),
    Case("handshake_new", "A full handshake for each connection, TLS 1.3, ECDSA P-256",
         NEW, entries(COMPARED, TLS), note=HANDSHAKE_NOTE, unit="handshake"),
    Case("handshake_rsa", "A full handshake for each connection, TLS 1.3, RSA 2048",
         NEW, entries(COMPARED, TLS_RSA), note=HANDSHAKE_NOTE, unit="handshake", optional=True),
    Case("handshake_resumed", "A resumed handshake for each connection, TLS 1.3",
         (*NEW, "--resume"), entries(COMPARED, TLS), goal=0.90, unit="handshake",
         note=HANDSHAKE_NOTE + " A handshake that is not resumed is an error."),
    Case("handshake_resumed12", "A resumed handshake for each connection, TLS 1.2 tickets",
         (*NEW, "--resume", "--tls12"), entries(COMPARED, TLS), note=HANDSHAKE_NOTE, unit="handshake", optional=True),
    Case("h2", "HTTP/2 over TLS to HTTP/1, small responses, 16 connections by 32 streams",
         (*STREAMS, *SMALL), entries(COMPARED, TLS_H2), goal=0.60),
    Case("h2h2", "HTTP/2 over TLS to HTTP/2, small responses, 16 connections by 32 streams",
         (*STREAMS, *SMALL), entries(("maitred", "haproxy"), TLS_H2_H2), goal=0.60,
         note="nginx speaks no HTTP/2 to services, but for gRPC."),
    Case("grpc", "gRPC, unary calls of 64 bytes both ways, 16 connections by 32 streams, in clear",
         (*STREAMS, "--grpc", "64"), entries(COMPARED, GRPC), goal=0.60, unit="call"),
    Case("grpc_tls", "gRPC, unary calls of 64 bytes both ways, 16 connections by 32 streams, over TLS",
         (*STREAMS, "--grpc", "64"), entries(COMPARED, TLS_GRPC), unit="call", optional=True),
    IdleCase("idle_tls", "Private memory, 2,000 idle TLS connections", 2000, entries(COMPARED, TLS), goal=0.80,
             note="As above, after a warm-up of 2,000 requests on 64 TLS connections."),
    IdleCase("idle_h2", "Private memory, 2,000 idle connections of HTTP/2 over TLS", 2000, entries(COMPARED, TLS_H2),
             optional=True, note="As above, with HTTP/2."),
)


def select(names):
    """The cases whose names are listed (or all but the optional ones); raises KeyError with the unknown name."""
    known = {case.name: case for case in CASES}
    return [known[name] for name in names] if names else [case for case in CASES if not case.optional]
