"""Sums over the edges of each center, replaced in the traced graph of a model by our kernels.

AOTInductor would write what is summed, and add it up edge by edge (on a GPU by atomic additions).
"""

from typing import Any

import torch

__all__ = ["sum_channels", "sum_sorted_edges"]


def sum_sorted_edges(graph_module: torch.fx.GraphModule, edge_index: str) -> torch.fx.GraphModule:
    """For GPUs: replace all sums over the edges of each center, in place.

    Args:
        graph_module: of ATen operations.
        edge_index: name of the input with the edges, whose first row is sorted.
    """
    import nequip_legato.kernels.centers  # noqa: F401  (defines the operators)

    aten, ours = torch.ops.aten, torch.ops.nequip_legato
    graph = graph_module.graph
    starts: dict[Any, torch.fx.Node] = {}
    for node in list(graph.nodes):
        centers = _centers_of_sum(node, edge_index)
        if centers is None or node.args[3].meta["val"].dtype != torch.float32:
            continue
        zeros, _, _, source = node.args
        features = 1
        for size in source.meta["val"].shape[1:]:
            features *= int(size)
        n_nodes = zeros.args[0][0]
        with graph.inserting_before(node):
            if n_nodes not in starts:
                starts[n_nodes] = graph.call_function(
                    ours.center_starts.default, (centers, n_nodes)
                )
            flat = graph.call_function(aten.reshape.default, (source, [-1, features]))
            total = graph.call_function(ours.sum_over_edges.default, (flat, starts[n_nodes]))
            result = graph.call_function(aten.reshape.default, (total, list(zeros.args[0])))
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    return _cleaned(graph_module)


def sum_channels(graph_module: torch.fx.GraphModule, edge_index: str) -> torch.fx.GraphModule:
    """For CPUs: sum the weighted channels of edges without writing them down, in place.

    Their derivatives are taken from those of the sums, without copying these to every edge.

    Args:
        graph_module: of ATen operations and ours.
        edge_index: name of the input with the edges.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        with graph.inserting_before(node):
            result = _sum_of_channels(graph, node, edge_index)
            result = result or _derivatives_by_sum(graph, node, edge_index)
        if result is not None:
            node.replace_all_uses_with(result)
            graph.erase_node(node)
    return _cleaned(graph_module)


def _sum_of_channels(graph: torch.fx.Graph, node: Any, edge_index: str) -> Any:
    """edge_channels (E, i, u), transposed to (E, u, i) and summed: the sum's (n, u, i)."""
    ours = torch.ops.nequip_legato
    centers = _centers_of_sum(node, edge_index)
    if centers is None:
        return None
    zeros, _, _, source = node.args
    if not _is_transposed(source) or source.args[0].target is not ours.edge_channels.default:
        return None
    y, w, irreps = source.args[0].args
    args = (y, w, centers, zeros.args[0][0], irreps)
    return _transposed(graph, graph.call_function(ours.edge_channels_sum.default, args))


def _derivatives_by_sum(graph: torch.fx.Graph, node: Any, edge_index: str) -> Any:
    """The backward pass of the same: (n, u, i), copied to each edge and transposed."""
    aten, ours = torch.ops.aten, torch.ops.nequip_legato
    if node.target is not ours.edge_channels_backward.default:
        return None
    by_edge, y, w, irreps = node.args
    if by_edge.target is aten.clone.default:
        by_edge = by_edge.args[0]
    if not _is_transposed(by_edge) or by_edge.args[0].target is not aten.gather.default:
        return None
    by_sum, dim, index = by_edge.args[0].args
    centers = _centers_behind(index, edge_index)
    if dim != 0 or centers is None:
        return None
    args = (_transposed(graph, by_sum), y, w, centers, irreps)
    return graph.call_function(ours.edge_channels_sum_backward.default, args)


def _centers_of_sum(node: Any, edge_index: str) -> Any:
    """The row of centers if a node sums over the edges of each, starting from zero; else None."""
    aten = torch.ops.aten
    if node.target not in (aten.scatter_add_.default, aten.scatter_add.default):
        return None
    zeros, dim, index, _ = node.args
    if dim != 0 or zeros.target is not aten.full.default or zeros.args[1] != 0:
        return None
    return _centers_behind(index, edge_index)


def _centers_behind(node: Any, edge_index: str) -> Any:
    """The row of centers that an index is a view of; None if it is not such a view."""
    aten = torch.ops.aten
    views = (aten.expand.default, aten.unsqueeze.default, aten.view.default, aten.alias.default)
    while node.target in views:
        node = node.args[0]
    of_edges = node.target is aten.select.int and node.args[1:] == (0, 0)
    return node if of_edges and getattr(node.args[0], "target", None) == edge_index else None


def _is_transposed(node: Any) -> bool:
    return node.target is torch.ops.aten.permute.default and list(node.args[1]) == [0, 2, 1]


def _transposed(graph: torch.fx.Graph, node: Any) -> Any:
    aten = torch.ops.aten
    view = graph.call_function(aten.permute.default, (node, [0, 2, 1]))
    return graph.call_function(
        aten.clone.default, (view,), {"memory_format": torch.contiguous_format}
    )


def _cleaned(graph_module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module
