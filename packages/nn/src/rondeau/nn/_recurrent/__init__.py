"""The recurrent layers: their options, weights and states, a call of one, and the forms of sequences."""
