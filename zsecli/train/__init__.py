"""Training: pairs drawn from the seen part, losses, the loop, and what a run leaves behind."""
