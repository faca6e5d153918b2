"""The only door to the cluster: the API client, reflectors, the store of records, lease, events, virt-handler's metrics.

Reads clocks and does I/O; decides nothing. Called by `runtime` alone.
"""
