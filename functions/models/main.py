"""LLM deployments, and the way to their OpenAI-compatible endpoints."""

import functions_framework
from flask import Response

from shared.bootstrap import deps
from shared.flows import models
from shared.web import auth
from shared.web.endpoint import Call, endpoint, routes
from shared.wire import models as wire
from shared.wire.base import Done


@endpoint("GET", "/models", caller="user")
def index(call: Call) -> wire.ModelList:
    return models.list_models(call.user.id, deps())


@endpoint("POST", "/models/deploy", caller="user", body=wire.DeployBody, success=201, idempotent=True)
def deploy(call: Call) -> wire.NewDeploymentView:
    return models.deploy(call.body, call.user.id, deps(), call.idempotency_key)


@endpoint("GET", "/models/{model}", caller="user")
def show(call: Call) -> wire.DeploymentView:
    return models.show(call.params["model"], call.user.id, deps())


@endpoint("DELETE", "/models/{model}", caller="user")
def delete(call: Call) -> Done:
    return models.delete(call.params["model"], call.user.id, deps())


def _serve(call: Call, path: str) -> Response:
    bearer = auth.bearer(call.request.headers)
    # Here: its HTTP client would be a quarter of every cold start.
    from shared.flows import serving

    upstream = serving.serve(call.params["model"], path, bearer, call.request.get_data(), deps())
    response = Response(upstream.stream(), upstream.status, content_type=upstream.content_type)
    # Proxies that gather an answer before passing it on would make streams useless.
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(upstream.close)
    return response


@endpoint("POST", "/models/{model}/v1/chat/completions", caller="model")
def chat(call: Call) -> Response:
    return _serve(call, "chat/completions")


@endpoint("POST", "/models/{model}/v1/completions", caller="model")
def complete(call: Call) -> Response:
    return _serve(call, "completions")


@endpoint("POST", "/models/{model}/v1/embeddings", caller="model")
def embed(call: Call) -> Response:
    return _serve(call, "embeddings")


@endpoint("GET", "/models/{model}/v1/models", caller="model")
def served(call: Call) -> Response:
    return _serve(call, "models")


main = functions_framework.http(routes(index, deploy, show, delete, chat, complete, embed, served, deps=deps))
