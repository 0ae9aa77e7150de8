"""The recurrent layers: what a layer is and takes, one call of it, and the forms that sequences come in."""
