"""The library's face: each verb checks, opens, loads and does. ``zsretrieve/__init__.pyi`` lists what is public."""
