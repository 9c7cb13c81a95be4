"""Files that survive kills, full disks and two processes at once; signals that ask to stop. Knows nothing of RL."""
