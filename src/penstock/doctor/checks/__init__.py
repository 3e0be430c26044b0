"""One check of a running server per file; live.py lists them. None of them changes anything on the server."""
