"""Verdicts to one self-contained page."""
