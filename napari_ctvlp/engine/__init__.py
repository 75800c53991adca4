"""One function per intention of a user; joins io, models and core."""
