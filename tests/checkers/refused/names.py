"""Names that are not there."""

import aioxide
import aioxide.no_such_module  # mypy: import-not-found; pyright: reportMissingImports
from aioxide import no_such_name  # mypy: attr-defined; pyright: reportAttributeAccessIssue
from aioxide.streams import NoSuchReader  # mypy: attr-defined; pyright: reportAttributeAccessIssue

print(no_such_name, NoSuchReader)

aioxide.no_such_call()  # mypy: attr-defined; pyright: reportAttributeAccessIssue
aioxide.new_event_loop().no_such_method()  # mypy: attr-defined; pyright: reportAttributeAccessIssue
aioxide.queues.NoSuchQueue()  # mypy: attr-defined; pyright: reportAttributeAccessIssue
