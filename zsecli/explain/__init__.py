"""Why a photo matched: correspondences, whether they are the reason, and the photo put together in a sketch's shape."""
