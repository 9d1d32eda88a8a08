"""Functions in this process, called as over HTTP."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from flask import Flask, Request, request
from werkzeug.test import Client, TestResponse

from infra import manifest
from shared.deps import Deps
from shared.web.endpoint import Endpoint, routes


def client(name: str, deps: Deps) -> Client:
    """A function by its name, with dependencies of the test's."""
    return _serving(name, _endpoints(name, deps), deps).test_client()


def everything(deps: Deps) -> Flask:
    """Every function in one application, as behind a gateway."""
    return _serving("everything", [one for name in manifest.load() for one in _endpoints(name, deps)], deps)


def _endpoints(name: str, deps: Deps) -> Sequence[Endpoint]:
    module = importlib.import_module(f"functions.{name}.main")
    # The handlers ask their module for dependencies.
    module.deps = lambda: deps  # type: ignore[attr-defined]
    declared = module.main.__wrapped__ if hasattr(module.main, "__wrapped__") else module.main
    found: Sequence[Endpoint] = declared.endpoints
    return found


def _serving(name: str, endpoints: Sequence[Endpoint], deps: Deps) -> Flask:
    serve = routes(*endpoints, deps=lambda: deps)
    app = Flask(name)

    def view(path: str) -> Any:
        incoming: Request = request._get_current_object()  # type: ignore[attr-defined]
        return serve(incoming)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]
    app.add_url_rule("/<path:path>", "view", view, methods=methods, provide_automatic_options=False)
    return app


def error_of(response: TestResponse) -> dict[str, Any]:
    body = response.get_json()
    assert body["success"] is False, body
    error: dict[str, Any] = body["error"]
    assert error["message"] and error["request_id"]
    return error
