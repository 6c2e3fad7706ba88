"""`relayfleet route evaluate --semantic`: what thresholds of a semantic cache would do to labelled questions."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from workers.core.topology.caching import Semantic
from workers.core.topology.model import Topology
from workers.policies.similar_rates import THRESHOLDS, Rate, rate
from workers.shell import Output, console, print_json


def show_semantic(topology: Topology, labelled: Sequence[tuple[str, str]], output: Output) -> None:
    """Ask the topology's examples and then these, and print how many a cache would have answered, and how wrongly.

    The thresholds and the margin of the topology's own semantic caches are among those that are tried.
    """
    caches = [target.cache for target in topology.targets.values() if target.cache is not None]
    own = {
        (cache.semantic.threshold, cache.semantic.margin) for cache in caches if cache.semantic is not None
    }
    usual = Semantic()
    tried = sorted(own | {(threshold, usual.margin) for threshold in (*THRESHOLDS, usual.threshold)})
    examples = [(text, name) for name, intent in topology.intents.items() for text in intent.examples]
    rates = [rate([*examples, *labelled], threshold, margin) for threshold, margin in tried]
    if output is Output.JSON:
        print_json({"rates": [{**asdict(each), "false_share": round(each.false_share, 4)} for each in rates]})
    else:
        console().print(_table(rates, own))


def _table(rates: Sequence[Rate], own: set[tuple[float, float]]) -> Table:
    table = Table(title=f"{rates[0].asked:,} questions, each asked once", title_justify="left")
    for column in ("threshold", "margin", "answered", "with another label", "share"):
        table.add_column(column, justify="right")
    for each in rates:
        mark = " *" if (each.threshold, each.margin) in own else ""
        table.add_row(
            f"{each.threshold:g}{mark}",
            f"{each.margin:g}",
            f"{each.hits:,}",
            f"{each.false:,}",
            f"{each.false_share:.1%}",
        )
    if own:
        table.caption = "* as the topology has it"
    return table
