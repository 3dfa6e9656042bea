"""What every blueprint of one app shares; `current_service()` finds it in a request."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from bramble.config import WebConfig
from bramble.head.client import Client
from bramble.model.catalogue import Catalogue
from bramble.web.admission import Admission
from bramble.web.document import Document
from bramble.web.metrics import Metrics
from bramble.web.transfers import Transfers

EXTENSION = "bramble"  # the key in app.extensions


@dataclass(frozen=True, slots=True)
class Service:
    config: WebConfig
    client: Client
    document: Document
    admission: Admission
    metrics: Metrics
    catalogue: Catalogue | None  # of the model files that are served; None = none
    transfers: Transfers


def make_service(config: WebConfig, client: Client) -> Service:
    document = Document(client)
    return Service(
        config,
        client,
        document,
        Admission(config.threads),
        Metrics(document),
        None if config.models is None else Catalogue(config.models),
        Transfers(),
    )


def current_service() -> Service:
    service = current_app.extensions[EXTENSION]
    assert isinstance(service, Service)
    return service
