"""The signatures and help texts of the verbs, by what they are for."""
