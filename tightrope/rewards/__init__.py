"""How good is one response."""
