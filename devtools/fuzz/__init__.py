"""Fuzzing of everything that is open to input from outside."""
