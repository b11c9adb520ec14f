// SPDX-License-Identifier: Apache-2.0
#include "zoo/zoo.h"

#include "zoo/families.h"

namespace vitrail::zoo {
namespace {
constexpr Model kModels[] = {
    {"cvt13", "CvT", "CvT-13, 20 M parameters, ImageNet-1k at 224x224 (microsoft/CvT)", 224, 224,
     false, define_cvt},
    {"cvt13_384", "CvT", "CvT-13 at 384x384, ImageNet-22k then 1k", 384, 384, false, define_cvt},
    {"cvt21", "CvT", "CvT-21, 32 M parameters, ImageNet-1k at 224x224", 224, 224, false,
     define_cvt},
    {"cvt_w24", "CvT", "CvT-W24, 277 M parameters, ImageNet-22k then 1k at 384x384", 384, 384,
     false, define_cvt},
    {"mst_plus_plus", "MST++",
     "MST++, RGB to 31 spectral bands (caiyuanhao1998/MST-plus-plus), any size", 512, 482, true,
     define_mst_plus_plus},
};
}  // namespace

std::span<const Model> models() { return kModels; }

const Model& find_model(const std::string& name) {
  std::string known;
  for (const Model& model : kModels) {
    if (name == model.name) return model;
    known += std::string(known.empty() ? "" : ", ") + model.name;
  }
  throw Error(Code::usage, "no model is named '" + name + "'; the zoo has " + known);
}

Graph define(const std::string& name, const Weights& weights, const InputSize& size) {
  const Model& model = find_model(name);
  Graph graph = model.define(model, weights, size);
  weights.require_all_read();
  return graph;
}

}  // namespace vitrail::zoo
