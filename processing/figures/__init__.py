"""Pictures of runs, answers and timelines."""
