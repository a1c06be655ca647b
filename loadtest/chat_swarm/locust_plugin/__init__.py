"""The swarm inside Locust: events, users, options, load shapes, web page.

Imports everything above; the only package that imports Locust and Flask.
Open `plugin.py` first.
"""
