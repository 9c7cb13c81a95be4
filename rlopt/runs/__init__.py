"""Run folders: what a training leaves behind, several of them together, and how they are shown."""
