"""`docs/openapi.json`: OpenAPI 3.1 from the manifest and the wire models.

python -m infra.openapi [--check]
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from infra import generated, manifest
from infra.manifest import Function, Route
from shared import errors
from shared.web.errors import STATUS

FILE = "docs/openapi.json"
REFERENCE = "#/components/schemas/{model}"
ERRORS = {
    "public": (400, 401, 413, 415, 429, 500, 503),
    "user": (400, 401, 402, 404, 409, 413, 415, 429, 500, 502, 503, 507),
    "admin": (400, 401, 403, 409, 413, 415, 500, 503),
    "agent": (400, 401, 403, 404, 409, 413, 415, 500, 502, 503),
    "model": (400, 401, 404, 409, 413, 500, 503),
    "scheduler": (401, 403, 500, 503),
}
SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "public": [],
    "user": [{"session": []}, {"apiKey": []}],
    "admin": [{"session": []}, {"apiKey": []}],
    "agent": [{"machine": []}],
    "model": [{"modelKey": []}],
    "scheduler": [{"scheduler": []}],
}
ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"}


def document() -> dict[str, Any]:
    functions = manifest.load()
    inputs, outputs = _models(functions)
    refs, definitions = models_json_schema(
        [*((m, "validation") for m in inputs), *((m, "serialization") for m in outputs)], ref_template=REFERENCE
    )
    for schema in definitions.get("$defs", {}).values():
        _close(schema)
    paths: dict[str, dict[str, Any]] = {}
    for function in functions.values():
        for route in function.routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(function, route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Dumont Cloud",
            "version": "1",
            "description": "GPU instances that outlive machines. Answers are `{success, data}` or `{success, error}`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "tags": [{"name": name} for name in functions],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**dict(sorted(definitions.get("$defs", {}).items())), "Error": _error_schema()},
            "securitySchemes": {
                "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: dk_…"},
                "machine": {"type": "http", "scheme": "bearer", "description": "A machine's own token"},
                "modelKey": {"type": "http", "scheme": "bearer", "description": "A deployment's key: dm-…"},
                "scheduler": {"type": "http", "scheme": "bearer", "description": "The scheduler's OIDC token"},
            },
        },
    }


def _close(schema: Any) -> None:
    """Keys of no known form are refused: pydantic does, and does not say so."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            _close(value)
    elif isinstance(schema, list):
        for value in schema:
            _close(value)


def _models(functions: dict[str, Function]) -> tuple[list[type[BaseModel]], list[type[BaseModel]]]:
    routes = [route for function in functions.values() for route in function.routes]
    inputs = {name for route in routes for name in (route.body,) if name}
    outputs = {route.answer for route in routes if route.answer != "raw"}
    return [manifest.model(n) for n in sorted(inputs)], [manifest.model(n) for n in sorted(outputs)]


def _operation(function: Function, route: Route, refs: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.id,
        "tags": [function.name],
        "summary": route.summary,
        "security": SECURITY[route.caller],
        "parameters": _parameters(route),
        "responses": {str(route.success): _answer(route, refs), **_refusals(route)},
    }
    if route.caller == "model":
        # The model's server refuses in words and statuses of its own.
        operation["responses"]["default"] = _answer(route, refs)
    if route.body:
        schema = refs[manifest.model(route.body), "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"},
        }
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    if route.query:
        schema = manifest.model(route.query).model_json_schema()
        required = schema.get("required", [])
        for name, one in schema["properties"].items():
            one = {k: v for k, v in one.items() if k != "title"}
            found.append({"name": name, "in": "query", "required": name in required, "schema": one})
    if route.idempotent:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "maxLength": 200},
                "description": "The same key gives the same result, once.",
            }
        )
    return found


def _answer(route: Route, refs: Any) -> dict[str, Any]:
    if route.answer == "raw":
        # Of JSON that is not ours nothing more is known.
        content = {
            media: {"schema": {} if media == "application/json" else {"type": "string", "contentMediaType": media}}
            for media in route.media
        }
        return {"description": route.summary, "content": content}
    data = refs[manifest.model(route.answer), "serialization"]
    schema = {
        "type": "object",
        "required": ["success", "data"],
        "properties": {"success": {"const": True}, "data": data},
    }
    return {"description": route.summary, "content": {"application/json": {"schema": schema}}}


def _refusals(route: Route) -> dict[str, Any]:
    return {
        str(status): {
            "description": _words(status),
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status in ERRORS[route.caller]
    }


def _words(status: int) -> str:
    codes = sorted(cls.code for cls, known in STATUS.items() if known == status and cls is not errors.Error)
    return ", ".join(codes) or "internal_error"


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["success", "error"],
        "properties": {
            "success": {"const": False},
            "error": {
                "type": "object",
                "required": ["code", "message", "request_id"],
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "request_id": {"type": "string"},
                    "details": {"type": "object"},
                },
            },
        },
    }


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    generated.run({FILE: text}, "infra.openapi")
