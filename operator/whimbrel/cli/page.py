"""The report of `assess` as one HTML page: nothing is loaded from anywhere, nothing in it can do anything. Pure."""

from collections.abc import Iterable, Iterator
from html import escape

from whimbrel.api.text import listed
from whimbrel.cli import words
from whimbrel.cli.appraisal import NO, UNKNOWN, Appraisal, HostRow, Machine, Obstacle

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:78rem;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .7rem;border-bottom:1px solid #8884}
th{position:sticky;top:0;background:Canvas}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
dl{margin:.4rem 0}dt{font-weight:600}dd{margin:0 0 .5rem 1rem}
.yes{color:#18794e}.no{color:#c62a2f}.unknown,.waits{color:#ad5700}
.premise{border-left:4px solid #ad5700;padding:.3rem .8rem;margin:.4rem 0}
summary{cursor:pointer}
"""


def html(appraisal: Appraisal) -> str:
    """The whole page."""
    return "".join(_parts(appraisal))


def _parts(appraisal: Appraisal) -> Iterator[str]:
    counts = {word: sum(m.movable == word for m in appraisal.machines) for word in ("yes", "waits", NO, UNKNOWN)}
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width"><title>Whimbrel: what can move</title>'
        f"<style>{_STYLE}</style></head><body><h1>What can move, and which hosts can be emptied</h1>"
    )
    yield "".join(f'<p class="premise">{escape(premise)}</p>' for premise in appraisal.premises())
    can = sum(host.evacuable == "yes" for host in appraisal.hosts)
    yield (
        f"<p>Of {len(appraisal.machines)} virtual machines {counts['yes']} can move now, {counts['waits']} only wait, "
        f"{counts[NO]} cannot move, {counts[UNKNOWN]} are unknown; {len(appraisal.not_running)} more do not run. "
        f"{can} of {len(appraisal.hosts)} hosts can be emptied now.</p>"
    )
    yield "<h2>Hosts</h2><table><thead><tr><th>Host<th>Guests<th>Can be emptied<th>In<th>Blocked by</thead><tbody>"
    for host in appraisal.hosts:
        yield _host(host)
    yield "</tbody></table><h2>Virtual machines</h2>"
    yield "<table><thead><tr><th>Virtual machine<th>On<th>Movable<th>Where to<th>Why not, and what to know</thead><tbody>"
    for machine in appraisal.machines:
        yield _machine(machine)
    yield "</tbody></table>"
    if appraisal.not_running:
        yield f"<h2>Not running</h2><p>{escape(', '.join(appraisal.not_running))}</p>"
    yield "</body></html>\n"


def _host(host: HostRow) -> str:
    time = "" if host.evacuable == NO or host.seconds is None else f"≥ {words.seconds(host.seconds)}"
    blockers = "".join(f"<dt>{escape(name)}</dt><dd>{escape(message)}</dd>" for name, _, message in host.blockers)
    said = _folded(f"{len(host.blockers)} virtual machines", f"<dl>{blockers}</dl>") if blockers else ""
    return (
        f"<tr><td>{escape(host.name)}<td>{host.guests}{_verdict(host.evacuable)}<td>{time}"
        f"<td>{said}{_waits(host.waiting)}{_unknown(host.unknown)}"
    )


def _waits(codes: Iterable[str]) -> str:
    said = ", ".join(codes)
    return f"<p>waits for {escape(said)}</p>" if said else ""


def _machine(machine: Machine) -> str:
    where = escape(listed(machine.targets, more=machine.target_count - len(machine.targets)))
    if len(machine.targets) > 3:
        where = _folded(f"{machine.target_count} hosts", where)
    told = f"<dl>{''.join(_obstacle(obstacle) for obstacle in machine.obstacles)}</dl>" if machine.obstacles else ""
    if told:
        told = _folded(", ".join(machine.codes) or "other hosts, and what to know", told)
    return (
        f"<tr><td>{escape(machine.name)}<td>{escape(machine.node)}{_verdict(machine.movable)}<td>{where}"
        f"<td>{told}{_unknown(machine.unknown)}"
    )


def _verdict(word: str) -> str:
    return f'<td class="{word}">{word}'


def _obstacle(obstacle: Obstacle) -> str:
    reason = obstacle.reason
    named = ", ".join(obstacle.hosts)
    more = obstacle.count - len(obstacle.hosts)
    where = f" on {named}{f' and {more} more' if more else ''}" if obstacle.count else ""
    kind = "" if reason.blocks else f" ({reason.judgement})"
    return (
        f"<dt>{escape(reason.code + kind + where)}</dt><dd><code>{escape(reason.field)}</code>: found "
        f"{escape(reason.found)}, needed {escape(reason.needed)}.<br>{escape(reason.cure())}</dd>"
    )


def _unknown(rules: Iterable[str]) -> str:
    listed = "; ".join(rules)
    return f'<p class="unknown">Unknown: {escape(listed)}.</p>' if listed else ""


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
