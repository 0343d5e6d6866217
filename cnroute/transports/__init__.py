"""What carries requests: `urllib3` is the default, others are plugins (`create_transport`)."""
