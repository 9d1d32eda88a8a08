"""S3 and what speaks like it, by boto3; `vendors.py` says how they differ.

Checksums only where required: newer boto3 adds headers that Backblaze B2 refuses. Presigned URLs sign the host alone,
so whoever holds one needs no header of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from shared import errors
from shared.objects.base import StoredObject
from shared.objects.vendors import VENDORS, Vendor

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MIN_PREFIX = 8
BULK = 1000
"""Keys that one DeleteObjects takes."""


class S3Objects:
    def __init__(
        self,
        bucket: str,
        endpoint: str | None,
        region: str,
        access_key: str,
        secret_key: str,
        vendor: Vendor = VENDORS["s3"],
        public_only: bool = False,
    ) -> None:
        self._vendor = vendor
        self._bucket = bucket
        self._endpoint = endpoint
        self._region = region
        self._credentials = (access_key, secret_key)
        self._public_only = public_only

    @cached_property
    def _client(self) -> S3Client:
        # Imported on first use: 0.3 s that most requests need not pay.
        import boto3
        from botocore.config import Config

        access_key, secret_key = self._credentials
        client = boto3.client(
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
                # A proxy of our own environment would look the name up by itself.
                proxies={} if self._public_only else None,
            ),
        )
        if self._public_only:
            from shared.objects.public_only import restrict

            restrict(client)
        return client

    def put(self, key: str, body: bytes) -> None:
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)
        except Exception as error:
            self._translate(error, key)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        last = "" if length is None else str(start + length - 1)
        try:
            if start or length is not None:
                answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{last}")
            else:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            return answer["Body"].read()
        except Exception as error:
            self._translate(error, key)

    def head(self, key: str) -> StoredObject:
        try:
            return StoredObject(key, self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
        except Exception as error:
            self._translate(error, key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    yield StoredObject(item["Key"], item["Size"])
        except Exception as error:
            self._translate(error, prefix)

    def delete(self, key: str) -> None:
        try:
            if self._vendor.versions:
                self._delete_versions(key, only=key)
            else:
                self._client.delete_object(Bucket=self._bucket, Key=key)
        except Exception as error:
            self._translate(error, key)

    def delete_prefix(self, prefix: str) -> int:
        if len(prefix) < MIN_PREFIX:
            raise errors.StorageError(f"refusing to delete everything below {prefix!r}")
        keys = [item.key for item in self.list(prefix)]
        try:
            if self._vendor.versions:
                self._delete_versions(prefix)
            elif self._vendor.bulk_delete:
                for start in range(0, len(keys), BULK):
                    self._delete_some(keys[start : start + BULK])
            else:
                for key in keys:
                    self.delete(key)
        except Exception as error:
            self._translate(error, prefix)
        return len(keys)

    def _delete_versions(self, prefix: str, only: str | None = None) -> None:
        """Every version below a prefix, or of one key, and what marks it as deleted."""
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix):
            for one in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                if only is None or one["Key"] == only:
                    self._client.delete_object(Bucket=self._bucket, Key=one["Key"], VersionId=one["VersionId"])

    def _delete_some(self, keys: Sequence[str]) -> None:
        answer = self._client.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        for failed in answer.get("Errors", []):
            # The call as a whole is answered 200.
            self._refused(str(failed.get("Code", "")), 0, str(failed.get("Key", "")))

    def presign_put(self, key: str, expires_in: timedelta) -> str:
        return self._presign("put_object", key, expires_in)

    def presign_get(self, key: str, expires_in: timedelta) -> str:
        return self._presign("get_object", key, expires_in)

    def _presign(self, verb: str, key: str, expires_in: timedelta) -> str:
        return self._client.generate_presigned_url(
            verb, Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=int(expires_in.total_seconds())
        )

    def _translate(self, error: Exception, key: str) -> NoReturn:
        """Storage's errors as ours; `transient` says whether asking again may help."""
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code in ("NoSuchKey", "NotFound", "404"):
                raise errors.ObjectNotFound(f"there is no object {key}") from error
            self._refused(code, status, key, error)
        if isinstance(error, BotoCoreError):
            words = f"object storage does not answer: {type(error).__name__}"
            raise errors.StorageError(words, transient=True) from error
        raise error

    def _refused(self, code: str, status: int, key: str, cause: Exception | None = None) -> NoReturn:
        # 501 will never be anything else; some answer a rate limit as 400 or 409.
        passes = (status >= 500 and status != 501) or status == 429
        transient = passes or code == "InternalError" or code in self._vendor.busy
        words = f"object storage answered {code or status} for {key}"
        raise errors.StorageError(words, transient=transient, answered=code or str(status)) from cause
