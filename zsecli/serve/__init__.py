"""The page to draw in, and the server behind it: `zse draw`."""
