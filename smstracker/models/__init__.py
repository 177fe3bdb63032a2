"""Tables, their selects and state changes. Nothing here commits."""

from smstracker.models.alerts import Alert as Alert
from smstracker.models.alerts import AlertNotice as AlertNotice
from smstracker.models.audit_log import AuditEntry as AuditEntry
from smstracker.models.callback_counts import CallbackTally as CallbackTally
from smstracker.models.event_feed import FeedCursor as FeedCursor
from smstracker.models.events import StatusEvent as StatusEvent
from smstracker.models.insight_rollups import InsightCoverage as InsightCoverage
from smstracker.models.insight_rollups import InsightDelivery as InsightDelivery
from smstracker.models.insight_rollups import InsightFailure as InsightFailure
from smstracker.models.insight_rollups import InsightOutcome as InsightOutcome
from smstracker.models.insight_rollups import InsightRecount as InsightRecount
from smstracker.models.insight_rollups import InsightSpend as InsightSpend
from smstracker.models.jobs import Heartbeat as Heartbeat
from smstracker.models.jobs import ScheduledJob as ScheduledJob
from smstracker.models.mail_health import MailHealth as MailHealth
from smstracker.models.message_text import message_text as message_text
from smstracker.models.messages import AlreadySentError as AlreadySentError
from smstracker.models.messages import Message as Message
from smstracker.models.messages import SendLimitError as SendLimitError
from smstracker.models.metric_totals import MetricTotal as MetricTotal
from smstracker.models.rate_limits import RateLimit as RateLimit
from smstracker.models.recipient_searches import RecipientSearch as RecipientSearch
from smstracker.models.refused_callbacks import RefusedCallback as RefusedCallback
from smstracker.models.sign_in import SignInToken as SignInToken
from smstracker.models.users import User as User
from smstracker.models.users import UserSession as UserSession
