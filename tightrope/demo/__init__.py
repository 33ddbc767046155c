"""The embedded main job."""
