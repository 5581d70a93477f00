"""A short rollout and rollback under load; tests/soak/rollout.py without options is the long one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROLLOUT = Path(__file__).parents[1] / "soak" / "rollout.py"


def test_a_rollout_and_a_rollback_fail_no_request_and_mix_none() -> None:
    if not (shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")):
        pytest.skip("haproxy is not installed here: apt-get install haproxy")
    command = [sys.executable, str(ROLLOUT), "--requests", "1000", "--clients", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert (said["failed"], said["mixed"], said["misplaced"], said["broken"]) == ({}, {}, {}, [])
    assert len(said["releases"]) == 2 and min(said["releases"].values()) > 100
    assert sum(said["releases"].values()) == said["requests"] >= 1000
    # Two servers, each updated twice, in four steps.
    assert [step["server"] for step in said["steps"][::4]] == ["one", "two", "one", "two"]
