"""Fixtures: gateways and origins that are stopped, and looked over, when the test ends."""
import os
import tempfile

import pytest

from kit import ports
from kit.faulty import Faulty
from kit.gateway import Gateway, base_config, upstream
from kit.origin import Origin

os.environ["no_proxy"] = "*"  # the clients here talk to this machine alone


@pytest.fixture
def folder(tmp_path):
    """A folder that the user the gateway drops to can read and write as well."""
    for parent in tmp_path.parents:
        if str(parent) == tempfile.gettempdir() or parent.stat().st_uid != os.geteuid():
            break
        parent.chmod(0o755)
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture
def origin():
    """Makes origins: origin(name, script=..., on_connect=...)."""
    made = []

    def make(*args, **more):
        made.append(Origin(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    faults = [(o.name, f) for o in made for f in o.faults]
    assert not faults, faults


@pytest.fixture
def faulty():
    """Makes services whose behaviour is switched: faulty(name, version)."""
    made = []

    def make(*args, **more):
        made.append(Faulty(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    faults = [(s.name, f) for s in made for f in s.faults]
    assert not faults, faults


@pytest.fixture
def gateway(folder):
    """Starts gateways: gateway(routes=..., upstreams=..., ...), or gateway(to=origin) for one route to one upstream."""
    started = []

    def start(to=None, upstream_settings=None, env=None, **sections):
        if to is not None:
            targets = to if isinstance(to, (list, tuple)) else [to]
            sections.setdefault("upstreams", {"app": upstream(*targets, **(upstream_settings or {}))})
            sections.setdefault("routes", [{"proxy": "app"}])
        port, admin_port = ports.free_port(), ports.free_port()
        own = folder / f"gateway{len(started)}"
        own.mkdir()
        own.chmod(0o777)
        made = Gateway(own, base_config(port, admin_port, **sections), env=env)
        own_admin = sections.get("admin", "")
        made.port, made.admin_port = port, own_admin[5:] if own_admin.startswith("unix:") else admin_port
        started.append(made)
        return made.start()

    yield start
    failures = []
    for one in started:
        if hasattr(one, "process"):
            try:
                one.finish()
            except Exception as error:
                failures.append(error)
    if failures:
        raise failures[0]
