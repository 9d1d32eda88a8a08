"""A real, very small language model behind an OpenAI-compatible API: a bigram model of this project's own words.

It answers quickly and says little: it exists so that deploying, streaming, counting, sleeping and waking can be tried on a
laptop. Its embeddings are hashed bags of words, normalised.

python tiny_model.py --model dumont/tiny-bigram --port 8000    # TINY_API_KEY: the key it demands
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import random
import re
import sys
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "dumont/tiny-bigram"
CORPUS = """
An instance outlives its machines. Several machines race and the first that is really ready is kept. The others are ended and
each leaves a receipt. An idle instance is saved to storage and its machine ends by itself. A hibernated instance wakes on any
host with every file as it was. A host that fails is remembered and avoided. A standby takes over when a machine is lost. No
machine is paid for without someone wanting it. No file is lost. A machine is ready fast. A model sleeps when nobody asks and
wakes when somebody does. Every cent is on the ledger and every saving has its formula. Hi there. Hello and welcome.
"""
DIMENSIONS = 64


class Bigrams:
    def __init__(self, text: str) -> None:
        words = re.findall(r"[A-Za-z]+|[.]", text)
        self.after: dict[str, list[str]] = defaultdict(list)
        for word, following in itertools.pairwise(words):
            self.after[word.lower()].append(following)
        self.starts = [b for a, b in itertools.pairwise(words) if a == "."]

    def generate(self, prompt: str, limit: int, seed: int) -> list[str]:
        """At most `limit` tokens; a token is a word or a full stop."""
        dice = random.Random(seed)
        known = [w for w in re.findall(r"[a-z]+", prompt.lower()) if w in self.after]
        word = dice.choice(self.after[known[-1]]) if known else dice.choice(self.starts)
        tokens = [word]
        while len(tokens) < limit and not (word == "." and len(tokens) > 12):
            word = dice.choice(self.after.get(word.lower()) or self.starts)
            tokens.append(word)
        return [t if t == "." or i == 0 else " " + t for i, t in enumerate(tokens)]


def embed(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for word in re.findall(r"[a-z]+", text.lower()):
        digest = hashlib.sha256(word.encode()).digest()
        vector[digest[0] % DIMENSIONS] += 1 if digest[1] % 2 else -1
    length = math.sqrt(sum(v * v for v in vector)) or 1.0
    return [v / length for v in vector]


def count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = Bigrams(CORPUS)
    key: str | None = None

    def log_message(self, format: str, *args: Any) -> None:
        sys.stderr.write(f"{self.address_string()} {format % args}\n")

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, message: str) -> None:
        self._json(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def _may(self) -> bool:
        if self.key and self.headers.get("Authorization") != f"Bearer {self.key}":
            self._refuse(401, "wrong key")
            return False
        return True

    def do_GET(self) -> None:
        if self.path == "/health":
            self._json(200, {"status": "ok"})
        elif self.path == "/v1/models" and self._may():
            self._json(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "dumont"}]})
        elif self.path != "/v1/models":
            self._refuse(404, "there is no such path")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._may():
            return None
        try:
            body = json.loads(raw)
        except ValueError:
            return self._refuse(400, "the body is not JSON")
        if body.get("model") != MODEL:
            return self._refuse(404, f"the model {body.get('model')!r} is not here, {MODEL} is")
        if self.path == "/v1/chat/completions":
            prompt = " ".join(str(m.get("content", "")) for m in body.get("messages", []))
            return self._complete(body, prompt, chat=True)
        if self.path == "/v1/completions":
            return self._complete(body, str(body.get("prompt", "")), chat=False)
        if self.path == "/v1/embeddings":
            given = body.get("input", "")
            texts = given if isinstance(given, list) else [given]
            data = [{"object": "embedding", "index": i, "embedding": embed(str(t))} for i, t in enumerate(texts)]
            used = sum(count(str(t)) for t in texts)
            usage = {"prompt_tokens": used, "total_tokens": used}
            return self._json(200, {"object": "list", "model": MODEL, "data": data, "usage": usage})
        return self._refuse(404, "there is no such path")

    def _complete(self, body: dict[str, Any], prompt: str, *, chat: bool) -> None:
        limit = max(1, min(512, int(body.get("max_tokens") or body.get("max_completion_tokens") or 64)))
        tokens = self.model.generate(prompt, limit, int(body.get("seed") or time.time_ns() % 2**31))
        usage = {"prompt_tokens": count(prompt), "completion_tokens": len(tokens)}
        usage["total_tokens"] = sum(usage.values())
        kind = "chat.completion" if chat else "text_completion"
        head = {"id": f"cmpl-{time.time_ns()}", "created": int(time.time()), "model": MODEL}
        if not body.get("stream"):
            text = "".join(tokens)
            made = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            choice = {"index": 0, "finish_reason": "stop", **made}
            return self._json(200, {**head, "object": kind, "choices": [choice], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, token in enumerate(tokens):
            piece = {"delta": {"role": "assistant", "content": token}} if chat else {"text": token}
            last = number == len(tokens) - 1
            choice = {"index": 0, "finish_reason": "stop" if last else None, **piece}
            self._event({**head, "object": kind + ".chunk" if chat else kind, "choices": [choice]})
            time.sleep(0.01)
        if (body.get("stream_options") or {}).get("include_usage"):
            self._event({**head, "object": kind + ".chunk", "choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")
        return None

    def _event(self, body: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    sys.stderr.write(f"loading {given.model}\n")
    if given.model == f"{MODEL}-endless":
        # Some servers load for ever: a model of that name is for trying what then happens.
        while True:
            sys.stderr.write("still loading\n")
            sys.stderr.flush()
            time.sleep(1)
    if given.model != MODEL:
        sys.exit(f"ValueError: {given.model} is not a model this server has; it has {MODEL}")
    Handler.key = os.environ.get("TINY_API_KEY")
    sys.stderr.write(f"serving {MODEL} on {given.port}\n")
    ThreadingHTTPServer(("127.0.0.1", given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
