"""The command line: one module a group of commands; `starter.py` puts them together."""
