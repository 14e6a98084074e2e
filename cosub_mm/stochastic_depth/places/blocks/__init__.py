"""The table, library by library. No file imports the library that it is about."""
