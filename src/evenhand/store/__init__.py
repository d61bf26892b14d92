"""What is on disk: one SQLite file a run, and all the SQL there is."""
