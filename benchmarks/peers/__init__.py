"""The same work behind other servers: how Trident compares with what one would else reach for."""
