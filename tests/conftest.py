"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from local import emulator
from tests.support import s3_server as s3
from tests.support.s3_server import S3Server


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[str]:
    """Host and port of Google's Firestore emulator. Without it the tests are skipped, and in CI they fail."""
    jar = emulator.find_jar()
    if jar is None:
        words = "Google's Firestore emulator is not installed: gcloud components install cloud-firestore-emulator"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    with emulator.running(jar) as address:
        yield address


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.running(tmp_path_factory.mktemp("s3")) as server:
        yield server
