"""A client that is killed while it writes leaves whole objects, or none."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from fundus_r1.storage.s3 import ACCESS_KEY_ENV, SECRET_KEY_ENV, Credentials, S3Store
from fundus_r1.storage.server import LocalS3

BUCKET = "fundus-r1"
WRITER = """
import itertools, json, sys
from fundus_r1.storage.s3 import S3Store, credentials_from_environment
store = S3Store(sys.argv[1], sys.argv[2], credentials_from_environment())
print("ready", flush=True)
for number in itertools.count():
    store.put(f"{sys.argv[3]}/{number}", json.dumps({"text": "x" * 200}).encode(), if_absent=True)
"""
KILLS = 20


def test_a_killed_writer_leaves_no_object_that_is_cut(tmp_path: Path) -> None:
    with LocalS3(tmp_path / "store", port=0) as server:
        env = {**os.environ, ACCESS_KEY_ENV: server.access_key, SECRET_KEY_ENV: server.secret_key}
        store = S3Store(server.endpoint, BUCKET, Credentials(server.access_key, server.secret_key))
        for kill in range(KILLS):
            command = [sys.executable, "-c", WRITER, server.endpoint, BUCKET, str(kill)]
            writer = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(random.uniform(0.02, 0.1))
            writer.kill()
            writer.communicate()
        time.sleep(0.5)
        keys = list(store.list(""))
        assert len(keys) > KILLS
        assert [key for key in keys if json.loads(store.get(key) or b'"cut"') == "cut"] == []
