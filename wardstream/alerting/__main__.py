"""``python -m wardstream.alerting``: the page of alert conditions, as Markdown."""

import sys

from wardstream.alerting.conditions import RULE_VERSION, table_rows

PAGE = f"""# Alert conditions

What is alerted on, as the code has it (table version `{RULE_VERSION}`; this page is made by
`python -m wardstream.alerting > docs/alert-conditions.md`, and a test holds it to the code).
*Delay* is how long a finding must hold before it is raised, *clear* how long it must be gone before
the alert clears. The last column is the longest time from the onset in the patient or the
equipment to the alert; **⚠ marks a sum above 10 s, which has to be disclosed to whoever relies on
it**. Limits are the shipped ones; a site changes rows and limits with a signed profile
(`EDGE_SITE_ALARMS`), a physician the limits of one patient with an order that names its author and
expires. Rows of high priority can be made more urgent, never less.

{table_rows()}

## A site's profile

```json
{{"site_id": "demo", "version": 1, "author": "head-of-icu", "issued_time_ns": 1795000000000000000,
 "rules": {{"hypotension": {{"priority": "high", "latching": true}}}},
 "limits": {{"spo2_percent": {{"lower": 88.0}}}}}}
```

`python -m cloud_api sign-site-alarms site.json --key orders.pem --out site.signed.json` checks its
bounds and signs it; the beds take it from `EDGE_SITE_ALARMS` and refuse it unsigned, altered or of
another site.
"""

sys.stdout.write(PAGE)
