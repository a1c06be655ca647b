"""Load shapes: timed stages, and the capacity search. Plain logic, driven by calls with the run's time.

Imports `model` only; never Locust, gevent or a clock.
Open `run_control.py` first.
"""
