"""The exchange itself: sessions and their hours, symbols and contracts, timeframes. No data, no input or output."""
