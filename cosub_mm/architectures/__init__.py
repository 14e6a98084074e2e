"""What is known of backbones of other libraries."""
