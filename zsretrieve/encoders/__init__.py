"""Models by name, loaded when needed, by the engine that suits."""
