"""The network, part by part, and the baselines beside it."""
