"""Reference application of the linda.ops lab: a small asynchronous API on MongoDB."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("linda-lab-api")
except PackageNotFoundError:
    __version__ = "0.0.0+source"
