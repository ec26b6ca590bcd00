"""Report: what a run or a benchmark found, as a page that a person would rather look at than read.

It reads a store and writes files of its own; nothing in the store changes. A page is put together
in three steps, each in files of its own: facts from the store, pictures and tables of them, and the
files that show these (HTML, PNG and SVG, CSV).
"""
