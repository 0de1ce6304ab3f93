"""From samples to Markdown: medians, spreads, and ratios taken within rounds.

A ratio compares an entry with one base, the base whose own median is better, round by round; what
is printed is the median of these ratios, with the smallest and the largest. The median of ratios is
steadier than the ratio of medians, because the noise of a round hits both of its sides.
"""

from dataclasses import dataclass
from statistics import median

FOREIGN_LIMIT = 0.05    # more of the proxy's core than this used by others is pointed out


@dataclass(frozen=True)
class Ratio:
    """An entry against a base."""

    base: str
    middle: float
    low: float
    high: float

    def text(self):
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def values(samples, key):
    """The values of all rounds that gave some."""
    return [sample[key] for sample in samples if sample is not None]


def middle(samples, key):
    found = values(samples, key)
    return median(found) if found else None


def ratio(samples, label, bases, key, better=min):
    """The entry's ratio against the better of the bases, or None when there is nothing to compare."""
    known = {base: middle(samples[base], key) for base in bases if base in samples}
    known = {base: value for base, value in known.items() if value}
    if not known or label not in samples:
        return None
    base = better(known, key=known.get)
    pairs = [(own[key], other[key]) for own, other in zip(samples[label], samples[base])
             if own is not None and other is not None and other[key] > 0]
    if not pairs:
        return None
    ratios = [own / other for own, other in pairs]
    return Ratio(base, median(ratios), min(ratios), max(ratios))


def number(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


def with_spread(samples, key, digits=0):
    found = values(samples, key)
    if not found:
        return ""
    return f"{number(median(found), digits)} ({number(min(found), digits)} to {number(max(found), digits)})"


def table(head, rows):
    """A Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|:---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def ratio_cell(found, label):
    if found is None:
        return ""
    return "1" if found.base == label else found.text()


def load_table(case, result):
    closed, paced = result["closed"], result["paced"]
    rate = f"{result['rate']:,}/s" if result["rate"] else "no rate"
    head = ["", f"CPU us/{case.unit}", f"{case.unit}s/s", "p50 us", "p99 us", f"at {rate}: CPU us", "p50 us", "p99 us",
            "ratio CPU", f"ratio {case.unit}s/s", f"ratio p99 at {rate}"]
    rows = []
    for label in closed:
        rows.append([
            label,
            with_spread(closed[label], "cpu_us", 2),
            with_spread(closed[label], "rps"),
            number(middle(closed[label], "p50_us")),
            number(middle(closed[label], "p99_us")),
            number(middle(paced[label], "cpu_us"), 2),
            number(middle(paced[label], "p50_us")),
            with_spread(paced[label], "p99_us"),
            ratio_cell(ratio(closed, label, case.base, "cpu_us"), label),
            ratio_cell(ratio(closed, label, case.base, "rps", max), label),
            ratio_cell(ratio(paced, label, case.base, "p99_us"), label),
        ])
    return table(head, rows)


def idle_table(case, result):
    idle = result["idle"]
    head = ["", "bytes/connection", "KiB before", f"KiB with {case.connections:,} idle", "ratio"]
    rows = []
    for label, samples in idle.items():
        before, after = middle(samples, "before"), middle(samples, "after")
        rows.append([
            label,
            with_spread(samples, "bytes_each"),
            number(before / 1024 if before is not None else None),
            number(after / 1024 if after is not None else None),
            ratio_cell(ratio(idle, label, case.base, "bytes_each"), label),
        ])
    return table(head, rows)


def error_lines(result):
    """A line for each entry with failed requests or measurements."""
    lines = []
    for kind, name in (("closed", "closed loop"), ("paced", "offered rate"), ("idle", "idle")):
        for label, samples in result.get(kind, {}).items():
            names = {}
            for sample in samples:
                for error, count in (sample or {}).get("error_names", {}).items():
                    names[error] = names.get(error, 0) + count
            if names:
                listed = ", ".join(f"{count} {error}" for error, count in sorted(names.items()))
                lines.append(f"**Errors**, {label}, {name}: {listed}.")
    lines += [f"**Failed**, {label}: {reason}" for label, reason in result["failures"].items()]
    return lines


def tls_lines(result):
    """What the load and the proxies agreed on, which should be the same for all."""
    agreed = {}
    for kind in ("closed", "paced", "idle"):
        for label, samples in result.get(kind, {}).items():
            for sample in samples:
                if sample is not None and sample["tls"]:
                    agreed.setdefault(sample["tls"], {})[label] = True
    if len(agreed) < 2:
        return [f"TLS: {text}." for text in agreed]
    return [f"**Not the same TLS**: {', '.join(labels)}: {text}." for text, labels in agreed.items()]


def remark_lines(result):
    """Whether others used the proxy's core, which proxies were not at their limit, and which TLS it was."""
    lines = tls_lines(result)
    samples = [sample for taken in result.get("closed", {}).values() for sample in taken if sample]
    samples += [sample for taken in result.get("paced", {}).values() for sample in taken if sample]
    foreign = sorted(sample["foreign"] for sample in samples)
    if foreign and foreign[-1] > FOREIGN_LIMIT:
        lines.append(f"Others used the proxy's core for {median(foreign):.0%} of the time (median; at most "
                     f"{foreign[-1]:.0%}): repeat on a quiet machine.")
    busy = {label: middle(taken, "busy") for label, taken in result.get("closed", {}).items()}
    busy = [f"{label} {value:.0%}" for label, value in busy.items() if value is not None]
    if busy:
        lines.append("Closed loop, share of its core used by: " + ", ".join(busy) + ".")
    return lines


def case_goal(case, result):
    """(ratio, reached) of the case's target, or None when it has no goal or was not measured."""
    if case.goal is None:
        return None
    samples, key = (result["closed"], "cpu_us") if "closed" in result else (result["idle"], "bytes_each")
    found = ratio(samples, case.target, case.base, key)
    return None if found is None else (found, found.middle <= case.goal)


def case_section(case, result):
    """The Markdown of one case."""
    lines = [f"### {case.title}", ""]
    if case.note:
        lines += [case.note, ""]
    lines += [load_table(case, result) if "closed" in result else idle_table(case, result), ""]
    notes = remark_lines(result) + error_lines(result)
    lines += ["\n".join(f"- {note}" for note in notes), ""] if notes else []
    return "\n".join(lines)


def goals_table(results):
    """What was to be reached, and whether it was."""
    rows = []
    for case, result in results:
        if case.goal is None:
            continue
        goal = case_goal(case, result)
        if goal is None:
            rows.append([case.title, "", "", f"{case.goal:.2f}", "not measured"])
        else:
            found, reached = goal
            verdict = "reached" if reached else "**missed**"
            rows.append([case.title, found.base, found.text(), f"{case.goal:.2f}", verdict])
    return table(["", "against", "ratio", "at most", "goal"], rows) if rows else ""


def has_errors(result):
    return bool(error_lines(result))
