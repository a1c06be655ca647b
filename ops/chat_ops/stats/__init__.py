"""Statistics of the log: histograms and their codec, percentiles, outliers.

Imports `log` and `table`.
Open `histogram.py` first.
"""
