"""The letter to the person affected: gathered, written from a template, and measured. No HTTP."""
