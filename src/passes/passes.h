// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "passes/pipeline.h"

// Every pass, one file each; the order and its reasons are in pipeline.cc.
namespace vitrail::passes {

size_t fold_constants(ir::Graph& graph);
size_t remove_noops(ir::Graph& graph);
size_t share_equal_nodes(ir::Graph& graph);
size_t lower_forms(ir::Graph& graph);
size_t einsum_to_matmul(ir::Graph& graph);
size_t merge_views(ir::Graph& graph);
size_t sink_views(ir::Graph& graph);
size_t fuse_layernorm(ir::Graph& graph);
size_t fuse_gelu(ir::Graph& graph);
size_t fuse_swish(ir::Graph& graph);
size_t drop_expand(ir::Graph& graph);
size_t fold_batchnorm(ir::Graph& graph);
size_t fold_scale(ir::Graph& graph);
size_t fuse_attention(ir::Graph& graph);
size_t spectral_attention(ir::Graph& graph);
size_t split_concat(ir::Graph& graph);
size_t fuse_epilogue(ir::Graph& graph);
size_t fuse_inverted(ir::Graph& graph);
size_t fuse_norm_product(ir::Graph& graph);
size_t fuse_pointwise(ir::Graph& graph);
size_t fuse_positional(ir::Graph& graph);

}  // namespace vitrail::passes
