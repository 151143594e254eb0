"""The search: a space, a table and a proxy in, winners and a run folder out."""
