"""What is done with trained agents: full episodes, films."""
