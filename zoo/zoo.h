// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <span>
#include <string>

#include "vitrail/graph.h"
#include "zoo/weights.h"

/// Model families as network definitions with the official parameter names.
namespace vitrail::zoo {

/// Extents of the input. 0: a symbol where the family allows one, else the family's own size.
struct InputSize {
  int64_t batch = 0, height = 0, width = 0;
};

struct Model {
  const char* name;         ///< "cvt13"
  const char* family;       ///< "CvT"
  const char* description;  ///< source and training of the official weights
  int64_t height, width;    ///< the usual input size
  bool dynamic_size;        ///< height and width may be symbols
  Graph (*define)(const Model& model, const Weights& weights, const InputSize& size);
};

std::span<const Model> models();
/// Throws Error(usage) that lists the models for an unknown name.
const Model& find_model(const std::string& name);
/// The network with its metadata (task, preprocessing). Input "input", outputs as in tests/golden.
Graph define(const std::string& name, const Weights& weights, const InputSize& size = {});

}  // namespace vitrail::zoo
