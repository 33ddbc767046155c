"""What changed between two models, with intervals."""
