"""The OpenAPI document, held against the server; and the page of reference that is made from it."""

from __future__ import annotations

import re
from functools import partial

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from zsretrieve.web.app import create_app
from zsretrieve.web.service import Service

OURS = {"Host": "127.0.0.1"}
KNOWN = {"gallery": "photos"}
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    negative_data_rejection, unsupported_method,
]  # fmt: skip


async def without_lifespan(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Schemathesis starts and ends an application for every request, and one that has ended has no threads."""
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
    else:
        await app(scope, receive, send)


def test_the_server_does_what_its_document_says(service: Service) -> None:
    app = partial(without_lifespan, create_app(service))
    document = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=OURS)
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:

        @settings(
            max_examples=15, phases=[Phase.explicit, Phase.generate], derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(), is_ours=st.booleans(), number=st.integers(0, 45))
        def holds(case: schemathesis.Case, is_ours: bool, number: int) -> None:
            if is_ours:  # a name that is guessed gets no further
                case.path_parameters.update(
                    {name: known for name, known in KNOWN.items() if name in case.path_parameters}
                )
                if "id" in case.path_parameters:
                    case.path_parameters["id"] = number
            case.call_and_validate(checks=CHECKS, headers=OURS)

        holds()
    service.close()


def test_the_reference_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/api/v1/reference")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert re.findall(r'(?:src|href)="(?!#)([^"]*)"', page.text) == [
        "/icon.svg", "/reference.css", "/api/v1/openapi.json", "/"
    ]  # fmt: skip
    for path in ("/icon.svg", "/reference.css"):
        assert client.get(path).status_code == 200
    assert page.text.count("Not an image that can be read") == 1
    assert "<script" not in page.text
    assert "style=" not in page.text
    for path in client.get("/api/v1/openapi.json").json()["paths"]:
        assert f"</b> {path}</h2>" in page.text
    anchors = set(re.findall(r'id="([^"]*)"', page.text))
    assert set(re.findall(r'href="#([^"]*)"', page.text)) <= anchors
