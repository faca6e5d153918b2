"""What the cluster is, as values: projections of raw objects, effective hosts, the ledger, selection, claims, snapshots."""
