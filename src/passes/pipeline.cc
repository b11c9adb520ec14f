// SPDX-License-Identifier: Apache-2.0
#include "passes/pipeline.h"

#include <algorithm>

#include "ir/control_flow.h"
#include "passes/forms.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

const Pass kPipeline[] = {
    // Shape glue becomes numbers first, so that every later pass sees plain extents.
    {"fold_constants", fold_constants},
    // Conditions that are numbers now choose their branch; the other passes then see its nodes.
    {"open_control_flow", ir::open_control_flow},
    {"fold_constants", fold_constants},
    {"remove_noops", remove_noops},
    // One form for what exporters write in several ways; patterns then need one form only.
    {"lower_forms", lower_forms},
    {"einsum_to_matmul", einsum_to_matmul},
    {"fold_constants", fold_constants},
    {"share_equal_nodes", share_equal_nodes},
    // Decomposed norms and activations become single nodes before views move through them.
    {"fuse_layernorm", fuse_layernorm},
    {"fuse_gelu", fuse_gelu},
    {"fuse_swish", fuse_swish},
    {"drop_expand", drop_expand},
    // Needs Conv followed directly by BatchNormalization; afterwards the bias is an Add.
    {"fold_batchnorm", fold_batchnorm},
    {"lower_forms", lower_forms},
    // What a simplifier moved out of a Gelu goes back into weights, before epilogues are formed.
    {"fold_scale", fold_scale},
    // Biases are Adds by now, and products and their sum can still find epilogues.
    {"split_concat", split_concat},
    // Reshapes around matrix products move below bias and residual, where pairs of them cancel.
    {"sink_views", sink_views},
    {"merge_views", merge_views},
    {"remove_noops", remove_noops},
    {"share_equal_nodes", share_equal_nodes},
    // Rewrites of whole blocks, before their parts are taken by smaller fusions. The first leaves
    // fusions with two bodies, on each of which the pipeline runs by itself.
    {"spectral_attention", spectral_attention},
    {"fuse_attention", fuse_attention},
    {"fold_constants", fold_constants},
    // The rewritten products have views of their own below them, above the projection's bias.
    {"sink_views", sink_views},
    // Constants found since then reach the bodies of Ifs and Loops.
    {"open_control_flow", ir::open_control_flow},
    // Every anchor takes what follows it; chains of such fusions become one whose body holds them,
    // so that dissolving it gives them back; then what is left is grouped; then singles are
    // wrapped.
    {"fuse_epilogue", fuse_epilogue},
    {"fuse_inverted", fuse_inverted},
    {"fuse_positional", fuse_positional},
    // What is still between steps of their own. The yardstick of narrow types (compile/rounded.h)
    // is
    // without it: a product rounds its operands wherever they come from.
    {"fuse_norm_product", fuse_norm_product, true},
    {"fuse_pointwise", fuse_pointwise},
    {"outline_singles", outline_singles},
};

}  // namespace

std::span<const Pass> pipeline() { return kPipeline; }

const Pass* find_pass(std::string_view name) {
  const auto found = std::find_if(std::begin(kPipeline), std::end(kPipeline),
                                  [&](const Pass& p) { return name == p.name; });
  return found == std::end(kPipeline) ? nullptr : found;
}

namespace {

void run_here(ir::Graph& graph, const Options& options) {
  const auto count = [&](const Pass& pass, size_t changes) {
    if (changes == 0) return;
    ir::verify(graph, fmt::format("pass {}", pass.name));
    if (options.observe) options.observe(pass, changes, graph);
  };
  for (const Pass& pass : options.passes) {
    if (std::find(options.disabled.begin(), options.disabled.end(), pass.name) !=
            options.disabled.end() ||
        (pass.gpu && !options.gpu))
      continue;
    count(pass, pass.run(graph));
  }
}

}  // namespace

void run_separately(ir::Graph& graph, ir::NodeId fusion, size_t body,
                    const std::vector<std::string>& disabled) {
  ir::dissolve(graph, fusion, body);
  for (const char* name : {"fuse_epilogue", "fuse_pointwise", "outline_singles"})
    if (std::find(disabled.begin(), disabled.end(), name) == disabled.end())
      find_pass(name)->run(graph);
}

void run(ir::Graph& graph, const Options& options) {
  run_here(graph, options);
  // Bodies of Ifs and Loops, and the forms that a pass offers, after the graph around them, which
  // has found their constants. Nothing moves into or out of them.
  for (ir::NodeId id : graph.topological_order()) {
    ir::Node& node = graph.node(id);
    Options inner = options;
    if (offers_forms(node))
      inner.disabled.push_back(node.family);  // what the model said would become the other form
    else if (!node.op || !node.op->traits.control)
      continue;
    for (auto& body : node.bodies) run(*body, inner);
  }
  graph.remove_dead();
  graph.compact();
  give_unique_names(graph);
}

}  // namespace vitrail::passes
