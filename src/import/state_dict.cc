// SPDX-License-Identifier: Apache-2.0
#include "import/state_dict.h"

#include <algorithm>
#include <unordered_map>

namespace vitrail {
namespace {
using Kind = PickleValue::Kind;

struct StorageType {
  std::string_view global;
  DType dtype;
};
constexpr StorageType kStorages[] = {
    {"torch FloatStorage", DType::f32}, {"torch DoubleStorage", DType::f64},
    {"torch HalfStorage", DType::f16},  {"torch BFloat16Storage", DType::bf16},
    {"torch LongStorage", DType::i64},  {"torch IntStorage", DType::i32},
    {"torch ShortStorage", DType::i16}, {"torch CharStorage", DType::i8},
    {"torch ByteStorage", DType::u8},   {"torch BoolStorage", DType::boolean}};
constexpr std::string_view kTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kParameter = "torch._utils _rebuild_parameter";

// What training scripts put beside the weights. None of it is made; it may only be present.
constexpr std::string_view kIgnored[] = {"collections OrderedDict",
                                         "collections defaultdict",
                                         "argparse Namespace",
                                         "torch Size",
                                         "torch device",
                                         "numpy.core.multiarray scalar",
                                         "numpy._core.multiarray scalar",
                                         "numpy.core.multiarray _reconstruct",
                                         "numpy._core.multiarray _reconstruct",
                                         "numpy.core.numeric _frombuffer",
                                         "numpy._core.numeric _frombuffer",
                                         "numpy ndarray",
                                         "numpy dtype",
                                         "_codecs encode",
                                         "builtins dict",
                                         "builtins list",
                                         "builtins int",
                                         "builtins float",
                                         "__builtin__ dict",
                                         "__builtin__ list",
                                         "__builtin__ int",
                                         "__builtin__ float"};

// Known and refused as unsupported rather than as hostile.
constexpr std::string_view kUnsupported[] = {"torch ComplexFloatStorage",
                                             "torch ComplexDoubleStorage",
                                             "torch QInt8Storage",
                                             "torch QUInt8Storage",
                                             "torch QInt32Storage",
                                             "torch.storage UntypedStorage",
                                             "torch._utils _rebuild_qtensor",
                                             "torch._utils _rebuild_sparse_tensor",
                                             "torch._utils _rebuild_tensor_v3",
                                             "torch._utils _rebuild_tensor",
                                             "torch._utils _rebuild_parameter_with_state",
                                             "torch._utils _rebuild_meta_tensor_no_storage",
                                             "torch._tensor _rebuild_from_type_v2"};

const StorageType* storage_type(std::string_view global) {
  const auto found = std::find_if(std::begin(kStorages), std::end(kStorages),
                                  [&](const StorageType& s) { return s.global == global; });
  return found == std::end(kStorages) ? nullptr : found;
}

}  // namespace

bool state_dict_global(std::string_view global) {
  const auto in = [&](const auto& list) {
    return std::find(std::begin(list), std::end(list), global) != std::end(list);
  };
  require(!in(kUnsupported), Code::unsupported,
          "'{}' in a PyTorch checkpoint is not supported; save plain dense tensors", global);
  return global == kTensor || global == kParameter || storage_type(global) != nullptr ||
         in(kIgnored);
}

// ('storage', torch.FloatStorage, key, device, elements), before 1.6 followed by the part of
// another storage that this one is.
StorageReference storage_reference(const PickleDocument& document, const PickleValue& value,
                                   const std::string& where) {
  const std::vector<uint32_t>& id = document.at(value.items[0]).items;
  require((id.size() == 5 || id.size() == 6) && document.at(id[0]).text == "storage" &&
              document.at(id[1]).is(Kind::global) && document.at(id[2]).is(Kind::text) &&
              document.at(id[4]).is(Kind::integer) && document.at(id[4]).integer >= 0,
          Code::bad_input, "{}: damaged storage reference", where);
  require(id.size() == 5 || document.at(id[5]).is(Kind::none), Code::unsupported,
          "{}: its storage is a view of another one; save the file again with a newer PyTorch",
          where);
  const StorageType* type = storage_type(document.at(id[1]).text);
  require(type != nullptr, Code::bad_input, "{}: '{}' is no storage", where,
          document.at(id[1]).text);
  return {std::string(document.at(id[2]).text), type->dtype, document.at(id[4]).integer};
}

namespace {
class Reader {
 public:
  Reader(const PickleDocument& document, const std::string& name, const StorageSource& source,
         uint64_t file_size)
      : document_(document), name_(name), source_(source), copies_left_(kFreeCopies + file_size) {}

  NamedTensors read() {
    const PickleValue& dict = state_dict(document_.root());
    NamedTensors out;
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const PickleValue& key = document_.at(dict.items[i]);
      const PickleValue* call = tensor_call(document_.at(dict.items[i + 1]));
      if (call == nullptr) continue;
      require(key.is(Kind::text), Code::bad_input, "{}: a tensor whose key is no text", name_);
      const std::string name(key.text);
      out.emplace_back(name, tensor(*call, fmt::format("{}: tensor '{}'", name_, printable(name))));
    }
    return out;
  }

 private:
  static constexpr uint64_t kFreeCopies = uint64_t{64} << 20;

  // The call that rebuilds a tensor, below the one that makes it a parameter; null for other
  // values.
  const PickleValue* tensor_call(const PickleValue& value) const {
    const PickleValue* call = &value;
    for (int level = 0; level < 2 && call->is(Kind::call); ++level) {
      const std::string_view global = document_.at(call->items[0]).text;
      if (global == kTensor) return call;
      const PickleValue& arguments = document_.at(call->items[1]);
      if (global != kParameter || arguments.items.empty()) return nullptr;
      call = &document_.at(arguments.items[0]);
    }
    return nullptr;
  }

  const PickleValue& state_dict(const PickleValue& root) const {
    constexpr std::string_view kKeys[] = {
        "state_dict", "model_state_dict", "model", "module", "ema", "params"};
    const PickleValue* dict = &root;
    constexpr int kLevels = 3;
    for (int level = 0; level < kLevels && dict->is(Kind::dict); ++level) {
      const PickleValue* below = nullptr;
      size_t best = std::size(kKeys);
      for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
        const PickleValue& key = document_.at(dict->items[i]);
        const PickleValue& value = document_.at(dict->items[i + 1]);
        if (key.is(Kind::text) && tensor_call(value) != nullptr) return *dict;
        if (!key.is(Kind::text) || !value.is(Kind::dict)) continue;
        const auto rank = static_cast<size_t>(
            std::find(std::begin(kKeys), std::end(kKeys), key.text) - std::begin(kKeys));
        if (rank < best) {
          best = rank;
          below = &value;
        }
      }
      if (below == nullptr) break;
      dict = below;
    }
    fail(Code::bad_input, "{}: no state dict found in this PyTorch file (its top level: {})", name_,
         describe(root));
  }

  std::string describe(const PickleValue& root) const {
    if (!root.is(Kind::dict)) return "no dictionary";
    std::string out = "a dictionary of";
    constexpr size_t kShown = 16;
    for (size_t i = 0; i + 1 < root.items.size() && i < kShown; i += 2) {
      const PickleValue& key = document_.at(root.items[i]);
      if (key.is(Kind::text)) out += " '" + printable(std::string(key.text), 40) + "'";
    }
    return out;
  }

  Dims extents(const PickleValue& value, const std::string& where) const {
    require(value.is(Kind::tuple), Code::bad_input, "{}: extents or strides are no tuple", where);
    Dims out;
    for (const uint32_t item : value.items) {
      const PickleValue& extent = document_.at(item);
      require(extent.is(Kind::integer) && extent.integer >= 0, Code::bad_input,
              "{}: a negative or missing extent or stride", where);
      out.push_back(extent.integer);
    }
    return out;
  }

  SharedBytes storage(const PickleValue& value, DType* dtype, const std::string& where) {
    require(value.is(Kind::persistent), Code::bad_input, "{}: no storage", where);
    const StorageReference reference = storage_reference(document_, value, where);
    *dtype = reference.dtype;
    auto found = storages_.find(reference.key);
    if (found == storages_.end())
      found = storages_.emplace(reference.key, source_(reference.key, where)).first;
    const size_t item = size_of(reference.dtype), size = found->second.bytes.size();
    require(static_cast<uint64_t>(reference.elements) == size / item && size % item == 0,
            Code::bad_input, "{}: a storage of {} {}, but its data has {} bytes", where,
            reference.elements, name_of(reference.dtype), size);
    return found->second;
  }

  Tensor tensor(const PickleValue& call, const std::string& where) {
    // storage, offset, extents, strides, requires_grad, hooks, metadata
    const std::vector<uint32_t>& arguments = document_.at(call.items[1]).items;
    require(arguments.size() >= 4, Code::bad_input, "{}: {} arguments, expected 6", where,
            arguments.size());
    DType dtype = DType::f32;
    const SharedBytes data = storage(document_.at(arguments[0]), &dtype, where);
    const PickleValue& offset_value = document_.at(arguments[1]);
    const Dims dims = extents(document_.at(arguments[2]), where);
    const Dims strides = extents(document_.at(arguments[3]), where);
    require(offset_value.is(Kind::integer) && offset_value.integer >= 0 &&
                dims.size() == strides.size() && dims.size() <= 64,
            Code::bad_input, "{}: damaged offset, extents or strides", where);

    return with_context(where, [&] {
      const int64_t count = element_count(dims), offset = offset_value.integer;
      const auto item = static_cast<int64_t>(size_of(dtype));
      const auto held = static_cast<int64_t>(data.bytes.size()) / item;
      bool contiguous = true;
      int64_t end = offset, dense = 1;
      for (size_t axis = dims.size(); axis-- > 0 && count > 0;) {
        if (dims[axis] != 1 && strides[axis] != dense) contiguous = false;
        dense *= dims[axis];
        end = checked_add(end, checked_mul(dims[axis] - 1, strides[axis]));
      }
      if (count > 0) end = checked_add(end, 1);
      require(end <= held, Code::bad_input,
              "shape {} with strides {} from element {} on ends at {}, the storage has {}",
              to_string(dims), to_string(strides), offset, end, held);
      const auto start = static_cast<size_t>(offset * item);
      const auto size = static_cast<uint64_t>(checked_mul(count, item));
      if (contiguous)
        return tensor_over(dtype, dims, {data.bytes.subspan(start, size), data.owner}, "data");
      // Stride 0 lets a small file ask for any amount.
      require(size <= copies_left_, Code::bad_input,
              "shape {} with strides {} needs a copy of {} bytes, more than the file justifies",
              to_string(dims), to_string(strides), size);
      copies_left_ -= size;
      const Tensor copy = gather(dtype, dims, strides, data.bytes.data() + start);
      return tensor_over(
          dtype, dims,
          {{static_cast<const std::byte*>(copy.raw()), size}, std::make_shared<Tensor>(copy)},
          "data");
    });
  }

  const PickleDocument& document_;
  const std::string& name_;
  const StorageSource& source_;
  uint64_t copies_left_;
  std::unordered_map<std::string, SharedBytes> storages_;
};
}  // namespace

NamedTensors read_state_dict(const PickleDocument& document, const std::string& name,
                             const StorageSource& source, uint64_t file_size) {
  return Reader(document, name, source, file_size).read();
}

}  // namespace vitrail
