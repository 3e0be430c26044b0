"""What the documents say that is wrong or outdated, as rules over parsed files: one row of the acceptance table, one file.

`read.read` turns a file's text into a `Material`, `table.examine` gives the findings of every rule over it. Everything here is
pure: who finds the files, and who asks a running server, is `penstock doctor`. Secrets never leave `finding.Evidence`.
"""
