"""A real S3-compatible server on loopback, moto's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def running() -> Iterator[S3Server]:
    """Start a server on a free port, with credentials for it in the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "me"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ):
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=url)
        try:
            yield S3Server(url, client)
        finally:
            client.close()
            server.stop()


@dataclass
class S3Server:
    """What tests do to the server behind the back of the code they test.

    Attributes:
        url: of the server.
        client: boto3's.
    """

    url: str
    client: Any

    @property
    def options(self) -> dict[str, str]:
        """Return the storage options that lead here."""
        return {"endpoint_url": self.url}

    def put(self, path: str, content: bytes, **extra: str) -> None:
        """Write an object; ``path`` is bucket and key. The bucket is made where there is none."""
        bucket, _, key = path.partition("/")
        self.client.create_bucket(Bucket=bucket)
        self.client.put_object(Bucket=bucket, Key=key, Body=content, **extra)

    def put_in_parts(self, path: str, content: bytes) -> None:
        """Write an object as a multipart upload, whose ETag is no MD5."""
        bucket, _, key = path.partition("/")
        where = {"Bucket": bucket, "Key": key}
        where["UploadId"] = self.client.create_multipart_upload(**where)["UploadId"]
        etag = self.client.upload_part(**where, PartNumber=1, Body=content)["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        self.client.complete_multipart_upload(**where, MultipartUpload=parts)

    def content(self, bucket: str) -> dict[str, bytes]:
        """Return all objects of a bucket."""
        keys = [o["Key"] for o in self.client.list_objects_v2(Bucket=bucket).get("Contents", ())]
        return {key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def clear(self) -> None:
        """Remove every bucket."""
        for bucket in [b["Name"] for b in self.client.list_buckets()["Buckets"]]:
            for key in self.content(bucket):
                self.client.delete_object(Bucket=bucket, Key=key)
            self.client.delete_bucket(Bucket=bucket)
