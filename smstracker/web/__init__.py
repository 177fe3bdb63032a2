"""What every blueprint shares about requests and answers; no views."""
