"""The tracking server's answers: head and body leave together."""

import asyncio

import pytest

from dsgo.settings import CHECKOUT


@pytest.fixture
def whole_answers(monkeypatch):
    monkeypatch.syspath_prepend(CHECKOUT / "server")
    from tracking import whole_answers

    return whole_answers


def test_the_head_of_an_answer_waits_for_its_body(whole_answers):
    head = {"type": "http.response.start", "status": 200}
    parts = [{"type": "http.response.body", "body": text, "more_body": text == b"a"} for text in (b"a", b"b")]
    sent, sent_by_then = [], []

    async def application(scope, receive, send):
        for message in (head, *parts):
            await send(message)
            sent_by_then.append(len(sent))

    async def send(message):
        sent.append(message)

    asyncio.run(whole_answers(application)({"type": "http"}, None, send))
    assert sent == [head, *parts]
    assert sent_by_then == [0, 2, 3]
