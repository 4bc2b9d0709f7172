"""The exit codes of every program of the project."""

DONE = 0
FAILED = 1  # some runs did
WRONG_INPUT = 2  # nothing was submitted, trained or written
STOPPED = 75  # agent.train: a checkpoint was written on request
INTERRUPTED = 130  # by Ctrl-C, as a shell says it
