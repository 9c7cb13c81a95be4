"""The runs of meta-training: loop, checkpoints, cards, metrics."""
