"""Charts of Records: arrays in, Altair charts out; the same in a page, a script and a notebook."""
