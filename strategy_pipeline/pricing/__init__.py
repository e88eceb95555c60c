"""What an option is worth: Black-Scholes-Merton, implied volatility, American exercise, forward and carry.

Functions take arrays or frames and return arrays or frames; nothing here reads a file, knows a table of the lake or a
vendor. Modules named ``*_kernels`` import numba and are themselves imported only inside functions, on first use.
"""
