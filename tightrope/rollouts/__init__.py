"""Policy and prompts in, responses out."""
