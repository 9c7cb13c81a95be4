"""Learning theta: inner tasks, augmentation, Persistent Evolution Strategies, the outer loop."""
