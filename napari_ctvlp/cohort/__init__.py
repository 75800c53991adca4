"""Archives: many scans through the same verbs, kept in Parquet, searched by phrase."""
