"""What tests share: commands in this process, stores, trees of pictures, networks, and what is hostile or damaged."""
