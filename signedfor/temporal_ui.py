"""Messages in Temporal's own UI: links to lists of them, and its set-up in a browser.

The UI shows how a workflow ended, and a message that failed has completed as much as one that was
delivered. What became of it is a search attribute: these lists filter by it, and with the set-up
the UI shows it in columns. The UI keeps columns and saved views in the browser.
"""

import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from signedfor.contract import CAMPAIGN, DEAD_LETTER, OPEN, SEND_MESSAGE, Outcome, Stage
from signedfor.inbound import RECORD_INBOUND_WORKFLOW
from signedfor.search_attributes import (
    CAMPAIGN_ID,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    TENANT,
    TWILIO_ERROR_CODE,
)

COLUMNS: Final = (
    MESSAGE_STATUS.name,
    TWILIO_ERROR_CODE.name,
    "Workflow ID",
    MESSAGE_SENDER.name,
    "Start",
    "End",
    "Status",
    CAMPAIGN_ID.name,
    TENANT.name,
)
"""The columns of the list of workflows, after the set-up."""


@dataclass(frozen=True)
class View:
    """A list of workflows, by a query to Temporal's visibility store."""

    name: str
    query: str


def _type(workflow_type: str) -> str:
    return f'`WorkflowType`="{workflow_type}"'


def _messages(*statuses: Stage | Outcome) -> str:
    # The UI's own form of a query: its filters do not understand IN.
    found = " OR ".join(f'`{MESSAGE_STATUS.name}`="{status}"' for status in statuses)
    return f"{_type(SEND_MESSAGE)} AND ({found})"


VIEWS: Final = (
    View("Open dead letters", f'{_type(DEAD_LETTER)} AND `{MESSAGE_STATUS.name}`="{OPEN}"'),
    View("Not delivered", _messages(Outcome.FAILED, Outcome.UNDELIVERED)),
    View("Unconfirmed", _messages(Outcome.UNCONFIRMED)),
    View("Not sent", _messages(Outcome.SUPPRESSED, Outcome.EXPIRED, Outcome.CANCELED)),
    View("Delivered", _messages(Outcome.DELIVERED)),
    View("Being retried", _messages(Stage.RETRYING, Stage.RESOLVING, Stage.DELAYED)),
    View("Waiting", _messages(Stage.WAITING, Stage.SCHEDULED)),
    View("Awaiting receipt", _messages(Stage.AWAITING_RECEIPT)),
    View("Campaigns", _type(CAMPAIGN)),
    View("Inbound to record", f'{_type(RECORD_INBOUND_WORKFLOW)} AND `ExecutionStatus`="Running"'),
)


@dataclass(frozen=True, kw_only=True)
class TemporalUI:
    """The UI of a Temporal namespace."""

    url: str
    """As in TEMPORAL_UI_URL, without a slash at its end."""
    namespace: str

    @property
    def workflows_url(self) -> str:
        """The list of all workflows."""
        return f"{self.url}/namespaces/{quote(self.namespace, safe='')}/workflows"

    def workflow_url(self, workflow_id: str) -> str:
        """The page of a workflow."""
        return f"{self.workflows_url}/{quote(workflow_id, safe='')}"

    def view_url(self, view: View) -> str:
        """The list of these workflows."""
        return f"{self.workflows_url}?{urlencode({'query': view.query})}"

    def setup_script(self) -> str:
        """JavaScript for the browser's console, on any page of the UI: columns and saved views.

        The browser keeps them. Views of other names stay, and running it again changes nothing.
        """
        views = [
            {"id": f"signedfor-{number}", "name": each.name, "query": each.query, "type": "user"}
            for number, each in enumerate(VIEWS, start=1)
        ]
        columns = [{"label": label} for label in COLUMNS]
        return _SCRIPT % (json.dumps(self.namespace), json.dumps(columns), json.dumps(views))


_SCRIPT = """\
((namespace, columns, views) => {
  const change = (key, what) => {
    const all = JSON.parse(localStorage.getItem(key) ?? "{}");
    all[namespace] = what(all[namespace] ?? []);
    localStorage.setItem(key, JSON.stringify(all));
  };
  const ours = new Set(views.map((view) => view.name));
  change("namespace-workflow-table-columns", () => columns);
  change("saved-workflow-queries", (saved) =>
    [...saved.filter((each) => !ours.has(each.name)), ...views]);
  localStorage.setItem("savedQueryNavOpen", "true");
  setTimeout(() => location.reload());
})(%s, %s, %s);
"""
