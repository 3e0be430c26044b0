"""The scenarios, one noun a file; a file's `SCENARIOS` names them. How to write one: `penstock.faults.scenario`."""
