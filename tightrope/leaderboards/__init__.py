"""The field's published statistics, recomputed from their raw files: one module per leaderboard."""
