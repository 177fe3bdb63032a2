"""Parsers and checks of settings; `config.py` declares the settings. Imports only `sms/`."""
