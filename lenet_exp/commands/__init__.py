"""The command-line programs, with one module per command.

Each module parses the arguments, calls the package, prints the results, and returns the exit
status.
"""
