"""Who may ask a server what: the admin key, encryption, and the certificates to try it with. Light to import."""
