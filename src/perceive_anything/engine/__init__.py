"""The data engine: region annotations in, bilingual region texts out, by any teacher."""
