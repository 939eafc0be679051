"""The network, part by part, its checkpoints, and the baselines beside it."""
