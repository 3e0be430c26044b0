"""What one release of an engine needs to run as it should, a folder for each release; nothing here is imported by Penstock itself."""
