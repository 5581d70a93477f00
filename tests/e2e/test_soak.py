"""A minute of the soak test; make soak is ten."""

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[1] / "soak" / "soak.py"


def test_a_minute_at_saturation(demo_repository: Path) -> None:
    command = [sys.executable, str(SOAK), str(demo_repository), "--minutes", "1", "--warm-up", "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed good requests: 0; bad requests without the right error: 0" in done.stdout
