"""The commands of `rlopt`, one dataclass each: its fields are the flags, `run` does the work and imports jax first."""
