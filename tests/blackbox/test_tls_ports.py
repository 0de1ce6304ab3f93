"""A port belongs to one gateway, although its workers share it among themselves."""
import json
import subprocess

from kit import ports
from kit.gateway import BINARY, base_config
from kit.wire import connect


def second(folder, port):
    """Another gateway of the same user on that port: how it ended, and what it said."""
    config = folder / "second.yaml"
    config.write_text(json.dumps({**base_config(port, ports.free_port()), "admin": f"127.0.0.1:{ports.free_port()}", "routes": [{"respond": 204}]}))
    config.chmod(0o644)
    done = subprocess.run([BINARY, "run", "-c", str(config)], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


def test_a_second_gateway_on_a_port_ends_with_the_reason(gateway, folder):
    gw = gateway(routes=[{"respond": 200}])
    code, said = second(folder, gw.port)
    assert code != 0 and f"cannot listen on 127.0.0.1:{gw.port}: Address already in use" in said, said
    for _ in range(20):
        assert gw.get("/").status == 200


def test_a_port_whose_owner_has_just_ended_is_free(gateway, folder):
    gw = gateway(routes=[{"respond": 200}])
    with connect(gw.port) as wire:
        wire.get("/")
        assert gw.stop() == 0
    again = gateway(listeners=[f"127.0.0.1:{gw.port}"], routes=[{"respond": 200}])
    with connect(gw.port) as wire:
        assert wire.get("/").status == 200
    assert again.stop() == 0


def test_an_address_within_another_of_the_same_gateway_may_be_added_by_a_reload(gateway):
    gw = gateway(routes=[{"respond": 200}])
    wide = ports.free_port()
    gw.reload({**gw.config, "listeners": [f"127.0.0.1:{gw.port}", f"0.0.0.0:{wide}"]})
    gw.reload({**gw.config, "listeners": [f"127.0.0.1:{gw.port}", f"0.0.0.0:{wide}", f"127.0.0.1:{wide}"]})
    with connect(wide) as wire:
        assert wire.get("/").status == 200
    gw.upgrade()
    gw.wait_for_old()
    with connect(wide) as wire:
        assert wire.get("/").status == 200
