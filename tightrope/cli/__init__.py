"""The command line."""

from tightrope.cli.app import main

__all__ = ["main"]
