"""A web page elsewhere must not be able to reset a robot, nor to look through its camera."""

import pytest

from savos_ros.view.guard import TOKEN_HEADER, Guard
from tests.view.fake_source import FakeSource, run, serving

FORGED = "http://evil.example"


def order(headers=None, path="/api/reset", control=True, body=None, drop=()):
    """Give an order as the page does, with some headers changed or left out."""

    async def test():
        source = FakeSource()
        async with serving(source, control=control) as client:
            host = f"{client.host}:{client.port}"
            sent = {"Origin": f"http://{host}", "Host": host, TOKEN_HEADER: client.token}
            sent |= headers or {}
            sent = {key: value for key, value in sent.items() if key not in drop}
            answer = await client.post(path, data=body, headers=sent)
            return answer.status, await answer.text(), source.orders

    return run(test)


def test_the_page_that_has_the_token_gives_orders():
    status, text, orders = order()
    assert (status, orders) == (200, [("reset", True)]) and "reset done" in text
    assert order(path="/api/adapt", body=b'{"on": false}')[2] == [("adapt", False)]
    assert order(path="/api/rollback", body=b"{}")[2] == [("rollback", True)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"headers": {"Origin": FORGED}}, "evil.example' may not ask"),
        ({"headers": {"Origin": "null"}}, "may not ask"),
        ({"headers": {"Origin": "https://127.0.0.1"}}, "may not ask"),
        ({"headers": {"Origin": "http://127.0.0.1:1"}}, "may not ask"),  # another server there
        ({"drop": ("Origin",)}, "needs the Origin"),
        ({"headers": {"Host": "evil.example", "Origin": FORGED}}, "is not called 'evil.example'"),
        ({"headers": {"Host": "127.0.0.1.evil.example"}}, "is not called"),
        ({"headers": {"Host": "evil.example@127.0.0.1"}}, "is not called"),
        ({"headers": {"Host": "192.168.1.5"}}, "--host"),
        ({"headers": {"Host": ""}}, "is not called"),
        ({"headers": {TOKEN_HEADER: "guess"}}, "the token is missing or of another start"),
        ({"headers": {TOKEN_HEADER: ""}}, "open the address that `savos view` has printed"),
        ({"drop": (TOKEN_HEADER,)}, "the token is missing"),
        ({"control": False}, "start `savos view --control`"),
        ({"control": False, "headers": {TOKEN_HEADER: ""}}, "start `savos view --control`"),
    ],
)
def test_everybody_else_is_refused_with_what_to_do(changed, words):
    status, text, orders = order(**changed)
    assert (status, orders) == (403, [])
    assert words in text


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"on": 1}', b"[" * 900])
def test_an_order_with_a_body_that_means_nothing_is_refused(body):
    status, text, orders = order(path="/api/adapt", body=body)
    assert (status, orders) == (400, []) and '{"on": true}' in text


def test_orders_are_given_by_post_to_known_names_alone():
    assert order(path="/api/shutdown")[::2] == (404, [])
    assert order(body=b"x" * 5000)[::2] == (413, [])

    async def test():
        source = FakeSource()
        async with serving(source, control=True) as client:
            answer = await client.get("/api/reset", headers={TOKEN_HEADER: client.token})
            assert answer.status == 405 and source.orders == []

    run(test)


def test_another_page_cannot_look_through_the_camera():
    async def test():
        async with serving(FakeSource()) as client:
            for headers in ({"Origin": FORGED}, {"Host": "evil.example"}):
                for path in ("/", "/ws"):
                    answer = await client.get(path, headers=headers)
                    assert answer.status == 403
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"

    run(test)


def test_each_start_has_a_separate_token():
    assert Guard("127.0.0.1", True).token != Guard("127.0.0.1", True).token
    assert Guard("127.0.0.1", False).token == ""


@pytest.mark.parametrize(
    ("host", "header", "known"),
    [
        ("127.0.0.1", "localhost:9000", True),  # of a tunnel
        ("127.0.0.1", "[::1]:8080", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "10.0.0.7:8080", False),
        ("127.0.0.1", "[::1", False),
        ("robot.lan", "Robot.lan:8080", True),
        ("robot.lan", "robot.lan.evil.example", False),
        ("0.0.0.0", "10.0.0.7:8080", True),  # an address cannot be made to point elsewhere
        ("0.0.0.0", "evil.example:8080", False),
        ("::", "[fe80::1]:8080", True),
    ],
)
def test_the_names_a_server_answers_to(host, header, known):
    assert Guard(host, False).knows_host(header) is known
