"""Generated scenes, the bundled model, and the main job run on both."""
