"""The demo: a plan empties a host of real virtual machines before your eyes, and a report says whether it was true.

`scenario` runs it, `view` and `table` show it, `report` judges it. Started by `python -m whimbrel_lab demo`.
"""
