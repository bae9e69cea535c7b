"""Networks and records that come from elsewhere or go there."""
