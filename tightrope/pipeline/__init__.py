"""Recipe to stages to folders: what runs, in which order, and what need not run again."""

from tightrope.pipeline.run import evaluate, plan, train

__all__ = ["evaluate", "plan", "train"]
