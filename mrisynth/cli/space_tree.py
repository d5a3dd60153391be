"""A space's tree on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from mrisynth.cli.console import output

if TYPE_CHECKING:
    from mrisynth.search.tree import Branch, Node


def show_tree(title: str, nodes: Sequence["Node"]) -> None:
    """Show what is searched; what hangs on a choice stands below it."""
    root = Tree(escape(title))
    _add(root, nodes)
    output.print(root)


def network_size(least: int, most: int) -> str:
    """How large a generator is, in words."""
    sizes = f"{least:,} to {most:,}" if least < most else f"{least:,}"
    return f"network of {sizes} parameters"


def _add(tree: Tree, nodes: Sequence["Node"]) -> None:
    width = max((len(node.path) for node in nodes), default=0)
    for node in nodes:
        needs = f"  [dim]only with {escape(node.needs)}[/]" if node.needs else ""
        below = tree.add(f"{node.path:<{width}}  {escape(node.values)}{needs}")
        for branch in node.branches:
            _add(below.add(f"[bold]{escape(branch.label)}[/]{escape(_size(branch))}"), branch.nodes)


def _size(branch: "Branch") -> str:
    """What a branch holds, in words; nothing where there is nothing."""
    parts = [str(branch.size)] if branch.nodes else []
    if branch.parameters:
        least, most = branch.parameters
        parts.append(
            f"network of {least:,} to {most:,} parameters" if least < most else f"network of {least:,} parameters"
        )
    return f": {', '.join(parts)}" if parts else ""
