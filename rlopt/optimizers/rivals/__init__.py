"""Hand-designed optimizers that optax does not have, as `catalog` names them: (learning_rate, options) -> optax."""
