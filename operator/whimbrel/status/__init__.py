"""Status documents: conditions, plans, profiles. A document is written only where it differs from what is stored."""
