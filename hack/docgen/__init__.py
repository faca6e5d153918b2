"""Reference pages from the code: fields of the custom resources, reasons, metrics. Written by `make generate`.

The code is the source; a page that differs from it fails `make verify`. Uses crdgen's schemas; imports no lab.
"""
