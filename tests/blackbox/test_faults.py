"""One of three services fails, in every way there is: what clients see of it, to the request, with tries and without.

Turns are exact over both workers (round robin), so a third of what is asked meets the bad one: no more, no fewer.  No test here
takes a target out; test_faults_out.py has those.
"""
import pytest

from kit.crowd import ask
from kit.faulty import (CLOSE, CUT, EVERY_OTHER, ERROR, HALF, HALF_OPEN, HANG, HANG_BODY, REFUSE, REFUSE_STREAM, RESET, Faulty)

ALL, THIRD = 60, 20
CLIENTS = 3  # no more than the retries that are always allowed at once (retry.budget_min)
ENOUGH = "600ms"  # for what is well, on a busy machine
ONCE, QUICK = {"attempts": 1}, {"backoff": "0"}


@pytest.fixture
def three(faulty):
    """a, which is to fail, and b and c, which are well."""
    def make(version="h1", **settings):
        made = [faulty(name, version) for name in "abc"]
        made[0].settings = {"protocol": "h2" if version == "h2" else "http1", "retry": QUICK, **settings}
        return made

    return make


def served(gateway, services, **sections):
    return gateway(to=services, upstream_settings=services[0].settings, workers=2, **sections)


def lines_of(gw, seen):
    """The access log's line of each."""
    paths = {s.path for s in seen}
    found = gw.access.wait(lambda l: isinstance(l, dict) and l["path"] in paths, "of what was seen", count=len(paths))
    return found if isinstance(found, list) else [found]


def none_failed(seen, *serving, count=ALL):
    assert len(seen.seen) == count and not seen.failed, (seen.words(), seen.failed[:2])
    assert set(seen.who()) == set(serving)


versions = pytest.mark.parametrize("version", ["h1", "h2"])
methods = pytest.mark.parametrize("method", ["GET", "POST"])


# ---- refuse ----


@versions
@methods
def test_one_of_three_that_refuses_costs_no_request_of_any_method(gateway, three, version, method):
    a, b, c = three(version)
    a.be(REFUSE)
    gw = served(gateway, [a, b, c])
    none_failed(ask(gw.port, ALL, clients=CLIENTS, method=method), "b", "c")
    assert (a.count, b.count + c.count) == (0, ALL)


@versions
def test_without_retries_one_of_three_that_refuses_costs_exactly_its_third(gateway, three, version):
    a, b, c = three(version, retry=ONCE)
    a.be(REFUSE)
    gw = served(gateway, [a, b, c])
    seen = ask(gw.port, ALL, clients=CLIENTS)
    assert seen.words() == {"connect_refused": THIRD}
    assert {s.status for s in seen.failed} == {502}
    assert all(l["error"] == {"side": "upstream", "word": "connect_refused"} and l["tries"] == 1 for l in lines_of(gw, seen.failed))


# ---- broken off before the answer ----


@versions
@pytest.mark.parametrize("how", [RESET, CLOSE])
def test_broken_off_before_the_answer_costs_no_get(gateway, three, version, how):
    a, b, c = three(version)
    a.be(how)
    none_failed(ask(served(gateway, [a, b, c]).port, ALL, clients=CLIENTS), "b", "c")
    assert a.count > 0


@pytest.mark.parametrize("version, how, words", [
    ("h1", RESET, {"reset", "closed_before_response"}), ("h1", CLOSE, {"closed_before_response"}), ("h2", RESET, {"reset"})])
def test_broken_off_before_the_answer_costs_each_post_that_met_it_once_and_no_other(gateway, three, version, how, words):
    a, b, c = three(version)
    a.be(how)
    seen = ask(served(gateway, [a, b, c]).port, ALL, clients=CLIENTS, method="POST")
    assert len(seen.failed) == a.count == THIRD and set(seen.words()) <= words
    paths = [path for s in (a, b, c) for _, path, _ in s.got]
    assert len(paths) == len(set(paths)) == ALL, "none was sent twice"


def test_posts_that_may_be_repeated_are_when_the_configuration_says_so(gateway, three):
    a, b, c = three(retry={**QUICK, "on": ["reset", "non_idempotent"]})
    a.be(RESET)
    none_failed(ask(served(gateway, [a, b, c]).port, ALL, clients=CLIENTS, method="POST"), "b", "c")
    assert a.count > 0


@methods
def test_streams_that_are_refused_cost_no_request_of_any_method(gateway, three, method):
    a, b, c = three("h2")
    a.be(REFUSE_STREAM)
    none_failed(ask(served(gateway, [a, b, c]).port, ALL, clients=CLIENTS, method=method), "b", "c")
    assert a.count > 0


def test_connections_ended_in_one_direction_cost_no_get_and_no_more_than_its_third_of_posts(gateway, three):
    a, b, c = three()
    a.be(HALF_OPEN)
    gw = served(gateway, [a, b, c])
    none_failed(ask(gw.port, ALL, clients=CLIENTS), "b", "c")
    seen = ask(gw.port, ALL, clients=CLIENTS, method="POST", prefix="/post")
    assert len(seen.failed) <= THIRD and set(seen.words()) <= {"closed_before_response", "reset"}
    paths = [path for s in (a, b, c) for method, path, _ in s.got if method == "POST"]
    assert len(paths) == len(set(paths)), "none was sent twice"


# ---- broken off in the middle ----


@versions
@methods
def test_an_answer_cut_in_the_middle_is_never_complete_and_never_replaced(gateway, three, version, method):
    a, b, c = three(version)
    a.be(CUT)
    gw = served(gateway, [a, b, c])
    seen = ask(gw.port, ALL, clients=CLIENTS, method=method)
    assert len(seen.cut) == len(seen.failed) == a.count == THIRD, seen.words()
    assert all(HALF.startswith(s.body) and s.who == "a" for s in seen.cut)
    for line in lines_of(gw, seen.cut):
        assert line["complete"] is False and line["up_status"] == 200 and line["tries"] == 1
        assert line["error"]["side"] == "upstream" and line["error"]["word"] in ("body_cut", "reset")


@versions
def test_an_answer_that_stalls_in_the_middle_is_cut_after_the_body_timeout(gateway, three, version):
    a, b, c = three(version, timeouts={"body_idle": ENOUGH})
    a.be(HANG_BODY)
    gw = served(gateway, [a, b, c])
    seen = ask(gw.port, 12, clients=4)
    assert len(seen.cut) == len(seen.failed) == a.count == 4, seen.words()
    assert {l["error"]["word"] for l in lines_of(gw, seen.cut)} == {"response_body_timeout"}


# ---- no answer ----


@versions
@methods
def test_a_service_that_hangs_costs_each_request_that_met_it_one_response_timeout(gateway, three, version, method):
    a, b, c = three(version, timeouts={"response": ENOUGH})
    a.be(HANG)
    seen = ask(served(gateway, [a, b, c]).port, 12, clients=4, method=method)
    assert seen.words() == {"response_timeout": 4} and {s.status for s in seen.failed} == {504}
    assert a.count == 4


@versions
def test_a_time_for_each_try_hides_a_service_that_hangs_from_gets_and_shows_it_to_posts(gateway, three, version):
    a, b, c = three(version, retry={**QUICK, "per_try_timeout": ENOUGH})
    a.be(HANG)
    gw = served(gateway, [a, b, c])
    none_failed(ask(gw.port, 12, clients=CLIENTS), "b", "c", count=12)
    before = a.count
    seen = ask(gw.port, 12, clients=CLIENTS, method="POST", prefix="/post")
    assert seen.words() == {"try_timeout": a.count - before} and a.count - before == 4


def test_timeouts_that_are_listed_hide_a_service_that_hangs(gateway, three):
    a, b, c = three(timeouts={"response": ENOUGH}, retry={**QUICK, "on": "timeout"})
    a.be(HANG)
    none_failed(ask(served(gateway, [a, b, c]).port, 12, clients=CLIENTS), "b", "c", count=12)


def test_a_hedge_hides_a_service_that_hangs_though_nothing_is_retried(gateway, three):
    a, b, c = three(retry=ONCE, hedge={"after": "50ms"})
    a.be(HANG)
    none_failed(ask(served(gateway, [a, b, c]).port, 12, clients=CLIENTS), "b", "c", count=12)
    assert a.count > 0


def test_a_limit_for_each_target_bounds_what_a_service_that_hangs_can_hold(gateway, three):
    """Turns go past a target that is full: two are stuck, all others are served meanwhile."""
    a, b, c = three(max_requests_per_target=2, retry=ONCE)
    a.be(HANG)
    gw = served(gateway, [a, b, c])
    with Stuck(gw, a, 2):
        none_failed(ask(gw.port, ALL, clients=2), "b", "c")
        assert a.count == a.serving_most == 2


class Stuck:
    """Requests that hang at a service for as long as this lasts."""

    def __init__(self, gw, service, count):
        self.gw, self.service, self.count, self.wires = gw, service, count, []

    def __enter__(self):
        while self.service.count < self.count:
            wire = self.gw.connect().ask("/stuck")
            self.wires.append(wire)
            self.gw.wait_for_metric(0, "maitred_upstream_retries_active")  # a round trip
        return self

    def __exit__(self, *unused):
        self.service.let_go()
        for wire in self.wires:
            wire.close()


# ---- answers of failure ----


@methods
def test_a_burst_of_503_is_passed_on_exactly_unless_it_is_listed(gateway, three, method):
    a, b, c = three()
    a.be(ERROR)
    gw = served(gateway, [a, b, c])
    seen = ask(gw.port, ALL, clients=CLIENTS, method=method)
    assert seen.words() == {503: THIRD} and a.count == THIRD
    assert all("error" not in l and l["up_status"] == l["status"] == 503 for l in lines_of(gw, seen.failed))


@versions
def test_listed_statuses_cost_no_get_and_every_post_that_meets_them(gateway, three, version):
    a, b, c = three(version, retry={**QUICK, "on": "5xx"})
    a.be(ERROR)
    gw = served(gateway, [a, b, c])
    none_failed(ask(gw.port, ALL, clients=CLIENTS), "b", "c")
    assert ask(gw.port, ALL, clients=CLIENTS, method="POST", prefix="/post").words() == {503: THIRD}


def test_a_service_that_fails_every_other_time_costs_half_of_its_share(gateway, three):
    a, b, c = three()
    a.be(EVERY_OTHER)
    assert ask(served(gateway, [a, b, c]).port, ALL, clients=CLIENTS).words() == {503: THIRD // 2}


# ---- who looks at answers, and who does not ----


@pytest.mark.parametrize("how, settings, word", [
    (ERROR, {}, 503), (REFUSE, {}, "connect_refused"), (RESET, {}, "reset"), (HANG, {"timeouts": {"response": ENOUGH}}, "response_timeout")])
def test_least_response_time_gives_a_failing_service_no_more_than_one_request_of_each_client(gateway, three, how, settings, word):
    """A failure counts as an answer of a second at least, which nobody who answers in milliseconds is passed by for."""
    a, b, c = three(algorithm="least_response_time", retry=ONCE, **settings)
    a.be(how)
    gw = served(gateway, [a, b, c])
    seen = ask(gw.port, ALL, clients=4)
    assert len(seen.failed) <= 4, seen.words()
    assert set(seen.words()) <= {word, "closed_before_response" if how == RESET else word}


def test_round_robin_gives_a_slow_service_its_whole_share_and_least_response_time_a_tenth_at_most(gateway, three):
    shares = {}
    for algorithm in ("round_robin", "least_response_time"):
        a, b, c = three(algorithm=algorithm)
        a.delay = 0.2
        gw = served(gateway, [a, b, c])
        none_failed(ask(gw.port, ALL, clients=4), "a", "b", "c")
        shares[algorithm] = a.count
    assert shares["round_robin"] == THIRD and shares["least_response_time"] <= ALL // 10, shares
