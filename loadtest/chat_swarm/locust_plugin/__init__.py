"""The swarm inside Locust: events, users, options, load shapes, web page.

Imports `runner`, `bots`, `shapes`, `report`, `results`, `model`, `chat_cli` and `chat_protocol`; the only
package that imports Locust and Flask.
Open `plugin.py` first.
"""
