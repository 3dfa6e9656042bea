"""What keepalived asks: a virtual address belongs to the node whose head leads."""

from __future__ import annotations

from typing import Any

import pytest
from bramble.config import WebConfig
from bramble.errors import Unavailable
from bramble.web.app import create_app
from flask.testing import FlaskClient

from tests.web.fake_client import FakeClient


def test_a_head_that_leads_says_so_and_another_one_does_not(
    http: FlaskClient, fake: FakeClient
) -> None:
    assert http.get("/leader").status_code == http.get("/leader/quorum").status_code == 200
    fake.term, fake.has_quorum = 0, False
    other = create_app(WebConfig(), fake).test_client()
    assert other.get("/leader").status_code == other.get("/leader/quorum").status_code == 503
    assert other.get("/healthz").status_code == 200


def test_a_head_that_too_few_stages_obey_has_the_role_and_no_quorum(fake: FakeClient) -> None:
    """It is cut off, maybe, and another one leads: the address belongs to that one."""
    fake.has_quorum = False
    http = create_app(WebConfig(), fake).test_client()
    assert http.get("/leader").status_code == 200
    response = http.get("/leader/quorum")
    assert response.status_code == 503
    assert response.get_json()["reason"] == "too few stages obey this head"


class Loading(FakeClient):
    """A head that leads, and whose ring has just lost a stage."""

    def status(self) -> dict[str, Any]:
        return super().status() | {"state": "waiting", "reason": "stage 1 (pi2): not heard of"}


def test_it_leads_also_while_its_ring_does_not_serve() -> None:
    http = create_app(WebConfig(), Loading()).test_client()
    assert http.get("/readyz").status_code == 503
    assert http.get("/leader").get_json() == {"status": "leads", "term": 1}


class Silent(FakeClient):
    def status(self) -> dict[str, Any]:
        raise Unavailable("the head does not answer", 1)


@pytest.mark.parametrize(
    ("path", "status"), [("/leader", 502), ("/leader/quorum", 502), ("/readyz", 503)]
)
def test_a_head_that_is_silent_says_neither_yes_nor_no(path: str, status: int) -> None:
    response = create_app(WebConfig(), Silent()).test_client().get(path)
    assert response.status_code == status
    assert response.get_json()["reason"] == "the head does not answer"
