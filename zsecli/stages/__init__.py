"""The stages, one module a command, and what they use or make when nothing is given."""
