"""Records in, records out: packs, augmentation, text knowledge and texts written from records."""
