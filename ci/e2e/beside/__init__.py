"""The same segments and calls for our engine and for Linux's kernel, and what each of them makes of it."""
