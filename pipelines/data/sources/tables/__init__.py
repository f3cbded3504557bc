"""Tables: delimited text, Parquet, JSON lines and Excel, whose columns are understood in one place."""
