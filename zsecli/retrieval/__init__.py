"""The stages embed and match."""
