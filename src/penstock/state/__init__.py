"""What must outlast the process: one small database, SQLite by default."""
