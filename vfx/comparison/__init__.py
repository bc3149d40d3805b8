"""How far two features agree, row by row."""
