"""Drivers of live devices. Each delivers into an `Inbox`; `LiveSource` makes packets of it."""
