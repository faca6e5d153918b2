"""Reference pages from the code: fields of the custom resources, reasons, metrics, the embedded API server's deviations.

Written by `make generate`. The code is the source; a page that differs from it fails `make verify`. Uses crdgen's schemas;
of the lab it imports the list of deviations only, which is plain data. `corpus` judges the blocker corpus, for the examples.
"""
