"""S3 and what speaks like it, by boto3.

Checksums only where required: newer boto3 adds headers that Backblaze B2 refuses. Presigned URLs sign the host alone,
so whoever holds one needs no header of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from shared import errors
from shared.objects.base import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MIN_PREFIX = 8


class S3Objects:
    def __init__(self, bucket: str, endpoint: str | None, region: str, access_key: str, secret_key: str) -> None:
        self._bucket = bucket
        self._endpoint = endpoint
        self._region = region
        self._credentials = (access_key, secret_key)

    @cached_property
    def _client(self) -> S3Client:
        # Imported on first use: 0.3 s that most requests need not pay.
        import boto3
        from botocore.config import Config

        access_key, secret_key = self._credentials
        return boto3.client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=self._region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                signature_version="s3v4",
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=5,
                read_timeout=30,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path" if self._endpoint else "virtual"},
            ),
        )

    def put(self, key: str, body: bytes) -> None:
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)
        except Exception as error:
            _translate(error, key)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        last = "" if length is None else str(start + length - 1)
        try:
            if start or length is not None:
                answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{last}")
            else:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            return answer["Body"].read()
        except Exception as error:
            _translate(error, key)

    def head(self, key: str) -> StoredObject:
        try:
            return StoredObject(key, self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
        except Exception as error:
            _translate(error, key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    yield StoredObject(item["Key"], item["Size"])
        except Exception as error:
            _translate(error, prefix)

    def delete(self, key: str) -> None:
        try:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        except Exception as error:
            _translate(error, key)

    def delete_prefix(self, prefix: str) -> int:
        if len(prefix) < MIN_PREFIX:
            raise errors.StorageError(f"refusing to delete everything below {prefix!r}")
        keys = [item.key for item in self.list(prefix)]
        # One by one: B2 and others refuse the checksum that boto3 puts on DeleteObjects.
        for key in keys:
            self.delete(key)
        return len(keys)

    def presign_put(self, key: str, expires_in: timedelta) -> str:
        return self._presign("put_object", key, expires_in)

    def presign_get(self, key: str, expires_in: timedelta) -> str:
        return self._presign("get_object", key, expires_in)

    def _presign(self, verb: str, key: str, expires_in: timedelta) -> str:
        return self._client.generate_presigned_url(
            verb, Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=int(expires_in.total_seconds())
        )


def _translate(error: Exception, key: str) -> NoReturn:
    """Storage's errors as ours; `transient` says whether asking again may help."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in ("NoSuchKey", "NotFound", "404"):
            raise errors.ObjectNotFound(f"there is no object {key}") from error
        # Wasabi answers its rate limit as 400.
        transient = status >= 500 or status == 429 or code == "RequestRateLimitExceeded"
        raise errors.StorageError(f"object storage answered {code or status} for {key}", transient=transient) from error
    if isinstance(error, BotoCoreError):
        raise errors.StorageError(f"object storage does not answer: {type(error).__name__}", transient=True) from error
    raise error
