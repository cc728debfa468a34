"""What the tests of storage share: a server of S3, and a storage with mishaps."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

from lca_sweep.sweep.storage import Storage, StorageError

BUCKET = "sweeps"


@contextmanager
def s3_server() -> Iterator[str]:
    """A server of S3 with an empty bucket, as the environment's own: its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    try:
        with patch.dict(os.environ, s3_environment(address)):
            make_bucket()
            yield address
    finally:
        server.stop()


def s3_environment(address: str) -> dict[str, str]:
    """What a user sets."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_bucket() -> None:
    """An empty bucket on the environment's server."""
    from pyarrow.fs import FileSystem

    FileSystem.from_uri(f"s3://{BUCKET}?allow_bucket_creation=true")[0].create_dir(BUCKET)


@dataclass
class Memory:
    """A storage that is a dict; while `full`, nothing can be written to names that begin so."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    full: str | None = None
    writes: int = 0

    def read(self, name: str) -> bytes | None:
        return self.blobs.get(name)

    def write(self, name: str, content: bytes) -> None:
        self.writes += 1
        if self.full is not None and name.startswith(self.full):
            raise StorageError(name, os.strerror(errno.ENOSPC))
        self.blobs[name] = content

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.blobs if name.startswith(prefix))

    def delete(self, name: str) -> None:
        self.blobs.pop(name, None)

    def check(self) -> None:
        pass


def as_storage(memory: Memory) -> Storage:
    """Checked by mypy's eyes: Memory is a storage too."""
    return memory
