"""Which of NVIDIA's releases of Triton docker/Dockerfile takes; docker/README.md says what is known of each."""

from typing import Final

#: What is deployed where no other is named.
TRITON_RELEASE: Final = "26.09"
#: NVIDIA's image of it.
NVIDIA_IMAGE: Final = f"nvcr.io/nvidia/tritonserver:{TRITON_RELEASE}-py3"
