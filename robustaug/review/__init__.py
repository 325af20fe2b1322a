"""Look at variants and decide about each: a page on this machine alone, and what it writes."""
