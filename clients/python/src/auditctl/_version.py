"""The client's version; it says so in its hello."""

__version__ = "0.1.0"
