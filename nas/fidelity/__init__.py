"""How well a proxy orders networks, beside what MAdds and parameters alone do."""
