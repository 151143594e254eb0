"""The proxies: estimates of a network's accuracy, and what fits them."""
