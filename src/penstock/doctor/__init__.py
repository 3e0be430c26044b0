"""What is wrong with a deployment: its files under the rules, its running servers under a few harmless questions.

Finds and reads files, asks servers, and puts both into one report. What is wrong in a file is decided in `penstock.rules`,
which the deployment kit runs as well.
"""
