"""The bundled world: generated scenes, a small model trained on them, and the main job run on both."""
