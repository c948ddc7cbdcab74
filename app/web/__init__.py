"""Pages for people, made on the server and usable without JavaScript."""
