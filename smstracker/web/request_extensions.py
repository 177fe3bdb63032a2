"""The unbound Flask extensions that only requests need: commands and the worker do without."""

from flask_login import LoginManager
from flask_wtf import CSRFProtect

login_manager = LoginManager()
csrf = CSRFProtect()
