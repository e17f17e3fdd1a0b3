#!/usr/bin/env python3
"""What Python's zoneinfo says of local times around every change of a zone's clocks.

zones.py FIRST_YEAR LAST_YEAR ZONE...

For each zone and change it prints lines `zone local expected`, where `local` is a time
without a zone and `expected` the UTC time that it is for the first time, or `skipped` for
one that clocks there never showed. Standard library only.
"""

import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

UTC = timezone.utc
SECOND = timedelta(seconds=1)


def offset(zone, at):
    return at.astimezone(zone).utcoffset()


def changes(zone, begin, end):
    """The first instants at which the offset is another one."""
    step = timedelta(hours=6)
    at = begin
    while at < end:
        after = at + step
        # Two changes within six hours have never been.
        if offset(zone, at) != offset(zone, after):
            low, high = at, after
            while high - low > SECOND:
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                if offset(zone, middle) == offset(zone, low):
                    low = middle
                else:
                    high = middle
            yield high
        at = after


def expected(zone, local):
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) != local:
        return "skipped"
    return first.strftime("%Y-%m-%dT%H:%M:%SZ")


def main():
    first, last, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    begin = datetime(first, 1, 1, tzinfo=UTC)
    end = datetime(last + 1, 1, 1, tzinfo=UTC)
    for name in names:
        zone = ZoneInfo(name)
        times = {datetime(year, month, 15, 12) for year in range(first, last + 1) for month in (1, 7)}
        for change in changes(zone, begin, end):
            before = (change - SECOND).astimezone(zone).replace(tzinfo=None) + SECOND
            after = change.astimezone(zone).replace(tzinfo=None)
            middle = before + (after - before) / 2
            for edge in (before, after, middle.replace(microsecond=0)):
                for seconds in (-3601, -3600, -3599, -1, 0, 1, 3599, 3600, 3601):
                    times.add(edge + timedelta(seconds=seconds))
        for local in sorted(times):
            print(name, local.strftime("%Y-%m-%dT%H:%M:%S"), expected(zone, local))


main()
