"""Recipes: the schema, the presets and the files that ship."""
