"""Functions in this process, called as over HTTP."""

from __future__ import annotations

import importlib
from typing import Any

from flask import Flask, Request, request
from werkzeug.test import Client, TestResponse

from shared.deps import Deps
from shared.web.endpoint import routes


def client(name: str, deps: Deps) -> Client:
    """A function by its name, with dependencies of the test's."""
    module = importlib.import_module(f"functions.{name}.main")
    endpoints = module.main.__wrapped__.endpoints if hasattr(module.main, "__wrapped__") else module.main.endpoints
    # The handlers ask their module for dependencies.
    module.deps = lambda: deps  # type: ignore[attr-defined]
    serve = routes(*endpoints, deps=lambda: deps)
    app = Flask(name)

    def view(path: str) -> Any:
        incoming: Request = request._get_current_object()  # type: ignore[attr-defined]
        return serve(incoming)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
    app.add_url_rule("/<path:path>", "view", view, methods=methods, provide_automatic_options=False)
    return app.test_client()


def error_of(response: TestResponse) -> dict[str, Any]:
    body = response.get_json()
    assert body["success"] is False, body
    error: dict[str, Any] = body["error"]
    assert error["message"] and error["request_id"]
    return error
