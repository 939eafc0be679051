"""zse: sketch-based image retrieval for classes never seen in training, with explanations."""

__version__ = "0.1.0"
