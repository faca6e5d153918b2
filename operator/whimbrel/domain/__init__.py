"""Frozen values that pass between the rooms: records of cluster objects, verdicts, decisions, names, quantities."""
