"""Legal rules as dated data, one file a country; ``models.profile`` reads them."""
