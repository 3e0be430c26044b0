"""One rule per file, named after the row of the acceptance table that it looks for; table.py lists them."""
