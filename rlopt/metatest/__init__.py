"""Do learned rules generalise? Held-out supervised tasks, tuned hand-designed optimizers, scores."""
