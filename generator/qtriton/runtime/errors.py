"""What is wrong with an image that a client sent."""


class ImageError(ValueError):
    """An image that cannot be decoded; the message says why."""
