"""A bucket reached with ordinary S3 credentials: the standalone tool's way to the objects that agents reach by address."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from typing import Any

from agent.snapshot.errors import SnapshotError


class Bucket:
    """`store` is s3://BUCKET/PREFIX; credentials come from where boto3 looks for them."""

    plain_addresses = True

    def __init__(self, store: str, endpoint: str | None, snapshot_id: str = "") -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise SnapshotError("the standalone tool needs boto3: pip install boto3") from error
        if not store.startswith("s3://"):
            raise SnapshotError(f"{store!r} is not s3://BUCKET/PREFIX")
        self._bucket, _, prefix = store.removeprefix("s3://").partition("/")
        self._prefix = prefix.rstrip("/") + "/" if prefix.rstrip("/") else ""
        config = Config(
            signature_version="s3v4",
            retries={"max_attempts": 6, "mode": "standard"},
            s3={"addressing_style": "path"} if endpoint else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._s3: Any = boto3.client(
            "s3", endpoint_url=endpoint, config=config, region_name=os.environ.get("AWS_REGION", "us-east-1")
        )
        self._snapshot_id = snapshot_id
        self._epoch = secrets.token_hex(6)
        self._count = 0

    def new_pack(self) -> tuple[str, str]:
        self._count += 1
        key = f"p/{self._epoch}/{self._count}-{secrets.token_hex(8)}"
        return key, self._sign("put_object", key)

    def _sign(self, verb: str, key: str) -> str:
        """An address that any process may use for an hour."""
        given = {"Bucket": self._bucket, "Key": self._prefix + key}
        address: str = self._s3.generate_presigned_url(verb, Params=given, ExpiresIn=3600)
        return address

    def manifest_address(self) -> tuple[str, str]:
        key = f"m/{self._snapshot_id}"
        return key, key

    def put(self, key: str, url: str, body: bytes | bytearray | memoryview) -> None:
        self._call("put_object", Key=self._prefix + key, Body=bytes(body))

    def get(self, key: str, offset: int, length: int) -> bytes:
        answer = self._call("get_object", Key=self._prefix + key, Range=f"bytes={offset}-{offset + length - 1}")
        body: bytes = answer["Body"].read()
        if len(body) != length:
            raise SnapshotError(f"{key} gave {len(body)} instead of {length} bytes at {offset}")
        return body

    def url(self, key: str, fresh: bool = False) -> str:
        return self._sign("get_object", key)

    def know(self, keys: list[str]) -> None:
        """Addresses need no fetching here."""

    def manifests(self) -> list[tuple[str, float, int]]:
        """(key, time of writing in whole seconds, size) of each snapshot."""
        return list(self._list("m/"))

    def packs(self) -> dict[str, int]:
        return {key: size for key, _, size in self._list("p/")}

    def _list(self, below: str) -> Iterator[tuple[str, float, int]]:
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self._prefix + below, **token)
            for item in page.get("Contents", []):
                at = item["LastModified"].timestamp() if item.get("LastModified") else time.time()
                yield item["Key"].removeprefix(self._prefix), at, int(item["Size"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, verb: str, **given: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._s3, verb)(Bucket=self._bucket, **given)
        except (BotoCoreError, ClientError) as error:
            raise SnapshotError(f"{verb} {given.get('Key', given.get('Prefix', ''))}: {error}") from error
