"""What every command of Greenroom shares: standard streams, error lines and output files.

Imports nothing of ours, so any package may use it.
"""
