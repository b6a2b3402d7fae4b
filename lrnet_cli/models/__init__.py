"""Networks. Nothing here touches files or the console."""
