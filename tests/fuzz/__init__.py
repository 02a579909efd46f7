"""Any command line and any corrupt file give a result or a one-line error, without hanging."""
