"""What a person runs: the command line, training runs, statistics, reports."""
