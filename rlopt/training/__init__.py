"""From a configuration to a history, in memory."""
