"""Measurements, each one command that prints a table with the machine and the versions."""
