// SPDX-License-Identifier: Apache-2.0
#include "import/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "import/npy.h"

namespace vitrail {
namespace {
constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr size_t kMaxRank = 64;
constexpr std::pair<std::string_view, DType> kTypes[] = {
    {"F64", DType::f64},     {"F32", DType::f32}, {"F16", DType::f16}, {"BF16", DType::bf16},
    {"I64", DType::i64},     {"I32", DType::i32}, {"I16", DType::i16}, {"I8", DType::i8},
    {"U64", DType::u64},     {"U32", DType::u32}, {"U16", DType::u16}, {"U8", DType::u8},
    {"BOOL", DType::boolean}};

struct Entry {
  std::string name, dtype;
  Dims shape;
  std::vector<uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

// Takes the header's events; its nesting is fixed, so that depth needs no limit of its own.
// { "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"a": "b"}
// }
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(const std::string& file) : file_(file) {}
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return unexpected("a fraction"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      require(value <= INT64_MAX && entries.back().shape.size() < kMaxRank, Code::bad_input,
              "{}: extent {} or a rank above 64", where(), value);
      entries.back().shape.push_back(static_cast<int64_t>(value));
    } else if (place_ == Place::offsets && entries.back().offsets.size() < 2) {
      entries.back().offsets.push_back(value);
    } else {
      unexpected("a number");
    }
    return true;
  }
  bool string(string_t& text) override {
    if (place_ == Place::metadata) {
      require(metadata.emplace(key_, text).second, Code::bad_input,
              "{}: __metadata__ key '{}' appears twice", file_, printable(key_));
      return true;
    }
    if (place_ != Place::tensor || key_ != "dtype") return unexpected("a text");
    once(entries.back().has_dtype);
    entries.back().dtype = text;
    return true;
  }
  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::top;
    } else if (place_ == Place::top && key_ == "__metadata__") {
      place_ = Place::metadata;
    } else if (place_ == Place::top) {
      place_ = Place::tensor;
      entries.emplace_back().name = key_;
    } else {
      unexpected("an object");
    }
    return true;
  }
  bool key(string_t& text) override {
    key_ = text;
    if (place_ == Place::top)
      require(names_.insert(text).second, Code::bad_input, "{}: tensor '{}' appears twice", file_,
              printable(text));
    return true;
  }
  bool end_object() override {
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::tensor) return unexpected("a list");
    if (key_ == "shape") {
      once(entries.back().has_shape);
      place_ = Place::shape;
    } else if (key_ == "data_offsets") {
      once(entries.back().has_offsets);
      place_ = Place::offsets;
    } else {
      unexpected("a list");
    }
    return true;
  }
  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    fail(Code::bad_input, "{}: the header is no valid JSON at byte {}", file_, position + 8);
  }

 private:
  enum class Place { outside, top, metadata, tensor, shape, offsets };
  std::string where() const {
    return entries.empty() ? file_
                           : fmt::format("{}: tensor '{}'", file_, printable(entries.back().name));
  }
  bool unexpected(const char* what) const {
    fail(Code::bad_input, "{}: damaged header: {} at key '{}'", where(), what, printable(key_));
  }
  void once(bool& seen) {
    require(!seen, Code::bad_input, "{}: '{}' appears twice", where(), key_);
    seen = true;
  }
  const std::string& file_;
  Place place_ = Place::outside;
  std::string key_;
  std::unordered_set<std::string> names_;
};

DType type_of(const Entry& entry, const std::string& where) {
  for (const auto& [code, dtype] : kTypes)
    if (entry.dtype == code) return dtype;
  fail(Code::unsupported, "{}: element type '{}' is not supported", where, printable(entry.dtype));
}

void check_no_gaps(const std::vector<Entry>& entries, uint64_t size, const std::string& name) {
  std::vector<const Entry*> order;
  for (const Entry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(),
            [](const Entry* a, const Entry* b) { return a->offsets < b->offsets; });
  uint64_t end = 0;
  for (const Entry* entry : order) {
    require(entry->offsets[0] == end, Code::bad_input,
            "{}: tensor '{}' starts at {}, expected {}: data must have no gaps and no overlaps",
            name, printable(entry->name), entry->offsets[0], end);
    end = entry->offsets[1];
  }
  require(end == size, Code::bad_input, "{}: tensors end at {}, the data has {} bytes", name, end,
          size);
}
}  // namespace

SafeTensors read_safetensors(const SharedBytes& file, const std::string& name) {
  ByteReader reader(file.bytes, name);
  const auto length = reader.number<uint64_t>("the header length");
  require(length <= kMaxHeader && length <= reader.left(), Code::bad_input,
          "{}: a header of {} bytes, at most {} can be", name, length,
          std::min<uint64_t>(kMaxHeader, reader.left()));
  const std::string_view json = as_text(reader.take(length, "the header"));
  HeaderHandler header(name);
  require(json.starts_with('{'), Code::bad_input, "{}: the header is no JSON object", name);
  nlohmann::json::sax_parse(json.begin(), json.end(), &header);

  const Bytes data = reader.take(reader.left(), "the data");
  SafeTensors out;
  out.metadata = std::move(header.metadata);
  for (const Entry& entry : header.entries) {
    const std::string where = fmt::format("{}: tensor '{}'", name, printable(entry.name));
    require(entry.has_dtype && entry.has_shape && entry.offsets.size() == 2, Code::bad_input,
            "{}: 'dtype', 'shape' or 'data_offsets' is missing or short", where);
    const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    require(begin <= end && end <= data.size(), Code::bad_input,
            "{}: data at {} to {}, expected within {} bytes", where, begin, end, data.size());
    const Bytes bytes = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    out.tensors.emplace_back(
        entry.name, tensor_over(type_of(entry, where), entry.shape, {bytes, file.owner}, where));
  }
  check_no_gaps(header.entries, data.size(), name);
  return out;
}

SafeTensors load_safetensors(const std::string& path) {
  const auto file = MappedFile::open(path);
  return read_safetensors({file->bytes(), file}, "'" + printable(path) + "'");
}

void save_safetensors(const std::string& path, const SafeTensors& content) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : content.tensors) {
    const auto type =
        std::find_if(std::begin(kTypes), std::end(kTypes),
                     [&, &stored = tensor](const auto& t) { return t.second == stored.dtype(); });
    require(type != std::end(kTypes), Code::unsupported, "safetensors has no element type {}",
            name_of(tensor.dtype()));
    require(!header.contains(name) && name != "__metadata__", Code::bad_input,
            "two tensors named '{}'", printable(name));
    header[name] = {{"dtype", type->first},
                    {"shape", tensor.dims()},
                    {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail(Code::bad_input, "'{}': a tensor name or metadata is not UTF-8", printable(path));
  }
  constexpr size_t kLength = 8, kAlign = 64;
  text.resize((kLength + text.size() + kAlign - 1) / kAlign * kAlign - kLength, ' ');
  const uint64_t length = text.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const auto& [name, tensor] : content.tensors) file.write(bytes_of(tensor));
  file.commit();
}

}  // namespace vitrail
