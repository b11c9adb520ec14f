// SPDX-License-Identifier: Apache-2.0
#include "import/onnx_tensor.h"

#include <charconv>
#include <limits>

#include "onnx/onnx-ml.pb.h"

namespace vitrail {
namespace {
struct TypeRow {
  int onnx;
  const char* name;
  std::optional<DType> dtype;
};
const TypeRow kTypes[] = {{1, "FLOAT", DType::f32},    {2, "UINT8", DType::u8},
                          {3, "INT8", DType::i8},      {4, "UINT16", DType::u16},
                          {5, "INT16", DType::i16},    {6, "INT32", DType::i32},
                          {7, "INT64", DType::i64},    {8, "STRING", DType::string},
                          {9, "BOOL", DType::boolean}, {10, "FLOAT16", DType::f16},
                          {11, "DOUBLE", DType::f64},  {12, "UINT32", DType::u32},
                          {13, "UINT64", DType::u64},  {14, "COMPLEX64", {}},
                          {15, "COMPLEX128", {}},      {16, "BFLOAT16", DType::bf16},
                          {17, "FLOAT8E4M3FN", {}},    {18, "FLOAT8E4M3FNUZ", {}},
                          {19, "FLOAT8E5M2", {}},      {20, "FLOAT8E5M2FNUZ", {}},
                          {21, "UINT4", {}},           {22, "INT4", {}},
                          {23, "FLOAT4E2M1", {}},      {24, "FLOAT8E8M0", {}},
                          {25, "UINT2", {}},           {26, "INT2", {}},
                          {27, "FLOAT6E2M3", {}},      {28, "FLOAT6E3M2", {}}};

template <typename T>
Tensor filled(DType dtype, const Dims& dims, int found, auto&& at) {
  Tensor out(dtype, dims);
  T* to = static_cast<T*>(out.mutable_raw());
  for (int i = 0; i < found; ++i) to[i] = at(i);
  return out;
}

// Narrow types travel in wider fields; a value that does not fit is damage, not something to wrap.
template <typename T>
Tensor narrowed(DType dtype, const Dims& dims, const auto& field, int64_t low, int64_t high) {
  return filled<T>(dtype, dims, field.size(), [&](int i) {
    const auto value = static_cast<int64_t>(field.Get(i));
    require(value >= low && value <= high, Code::bad_input, "element {} is {}, out of range for {}",
            i, field.Get(i), name_of(dtype));
    return static_cast<T>(value);
  });
}

template <typename T>
Tensor narrowed(DType dtype, const Dims& dims, const auto& field) {
  return narrowed<T>(dtype, dims, field, static_cast<int64_t>(std::numeric_limits<T>::min()),
                     static_cast<int64_t>(std::numeric_limits<T>::max()));
}

Tensor from_typed_field(const onnx::TensorProto& p, DType dtype, const Dims& dims) {
  const auto same = [&]<typename T>(T, const auto& field) {
    return filled<T>(dtype, dims, field.size(),
                     [&](int i) { return static_cast<T>(field.Get(i)); });
  };
  switch (dtype) {
    case DType::f32:
      return same(float{}, p.float_data());
    case DType::f64:
      return same(double{}, p.double_data());
    case DType::i64:
      return same(int64_t{}, p.int64_data());
    case DType::u64:
      return same(uint64_t{}, p.uint64_data());
    case DType::i32:
      return same(int32_t{}, p.int32_data());
    case DType::u32:
      return narrowed<uint32_t>(dtype, dims, p.uint64_data());
    case DType::i8:
      return narrowed<int8_t>(dtype, dims, p.int32_data());
    case DType::i16:
      return narrowed<int16_t>(dtype, dims, p.int32_data());
    case DType::u8:
      return narrowed<uint8_t>(dtype, dims, p.int32_data());
    case DType::u16:
      return narrowed<uint16_t>(dtype, dims, p.int32_data());
    // The bits of a half; some writers sign-extend them.
    case DType::f16:
    case DType::bf16:
      return narrowed<uint16_t>(dtype, dims, p.int32_data(), INT16_MIN, UINT16_MAX);
    case DType::boolean:
      return filled<bool>(dtype, dims, p.int32_data_size(),
                          [&](int i) { return p.int32_data(i) != 0; });
    case DType::string:
      break;
  }
  return Tensor(dtype, dims);
}

int typed_size(const onnx::TensorProto& p, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return p.float_data_size();
    case DType::f64:
      return p.double_data_size();
    case DType::i64:
      return p.int64_data_size();
    case DType::u64:
    case DType::u32:
      return p.uint64_data_size();
    case DType::string:
      return p.string_data_size();
    default:
      return p.int32_data_size();
  }
}

Tensor from_bytes(DType dtype, Dims dims, const void* bytes) {
  Tensor out(dtype, std::move(dims));
  if (dtype == DType::boolean) {  // a byte other than 0 and 1 is no bool
    const auto* from = static_cast<const unsigned char*>(bytes);
    for (int64_t i = 0; i < out.size(); ++i)
      static_cast<unsigned char*>(out.mutable_raw())[i] = from[i] != 0;
  } else if (out.bytes() > 0) {
    std::memcpy(out.mutable_raw(), bytes, out.bytes());
  }
  return out;
}

int64_t parse_count(const std::string& key, const std::string& text) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc{} && end == text.data() + text.size() && value >= 0, Code::bad_input,
          "external data: '{}' is '{}', expected a number that is not negative", key,
          printable(text, 40));
  return value;
}

Dims dims_of(const auto& field) {
  constexpr int kMostDims = 64;
  require(field.size() <= kMostDims, Code::bad_input, "{} dimensions, at most {} are accepted",
          field.size(), kMostDims);
  return Dims(field.begin(), field.end());
}
}  // namespace

std::optional<DType> dtype_from_onnx(int type) {
  for (const TypeRow& row : kTypes)
    if (row.onnx == type) return row.dtype;
  return {};
}

int dtype_to_onnx(DType dtype) {
  for (const TypeRow& row : kTypes)
    if (row.dtype == dtype) return row.onnx;
  return 0;
}

std::string onnx_type_name(int type) {
  for (const TypeRow& row : kTypes)
    if (row.onnx == type) return row.name;
  return std::to_string(type);
}

Tensor TensorReader::read(onnx::TensorProto& p) {
  const auto dtype = dtype_from_onnx(p.data_type());
  require(p.data_type() != 0, Code::bad_input, "the element type is missing");
  require(dtype.has_value(), Code::unsupported, "element type {} is not supported",
          onnx_type_name(p.data_type()));
  require(!p.has_segment(), Code::unsupported, "tensors stored in segments are not supported");
  const Dims dims = dims_of(p.dims());
  const int64_t count = element_count(dims);
  const int64_t bytes = checked_mul(count, static_cast<int64_t>(size_of(*dtype)));

  const bool external = p.data_location() == onnx::TensorProto::EXTERNAL;
  const int typed = p.float_data_size() + p.int32_data_size() + p.int64_data_size() +
                    p.double_data_size() + p.uint64_data_size() + p.string_data_size();
  const bool raw = !p.raw_data().empty();
  require(!(raw && typed > 0) && !(external && (raw || typed > 0)), Code::bad_input,
          "the data is given twice (two of raw_data, typed data, external data)");
  require(external || p.external_data_size() == 0, Code::bad_input,
          "names external data, but its data_location is not EXTERNAL");
  if (external) return read_external(p, *dtype, dims);
  if (raw) {
    require(*dtype != DType::string, Code::bad_input, "strings cannot be raw data");
    require(p.raw_data().size() == static_cast<uint64_t>(bytes), Code::bad_input,
            "shape {} of {} needs {} bytes of data, found {}", to_string(dims), name_of(*dtype),
            bytes, p.raw_data().size());
    const std::unique_ptr<std::string> data(p.release_raw_data());
    return from_bytes(*dtype, dims, data->data());
  }
  require(typed == typed_size(p, *dtype), Code::bad_input,
          "the data is in a field for another type than {}", name_of(*dtype));
  require(typed == count, Code::bad_input, "shape {} needs {} elements, found {}", to_string(dims),
          count, typed);
  Tensor out = from_typed_field(p, *dtype, dims);
  p.clear_float_data();
  p.clear_int32_data();
  p.clear_int64_data();
  p.clear_double_data();
  p.clear_uint64_data();
  return out;
}

Tensor TensorReader::read_external(const onnx::TensorProto& p, DType dtype, Dims dims) {
  std::string location;
  int64_t offset = 0, length = -1;
  for (const auto& entry : p.external_data()) {
    if (entry.key() == "location")
      location = entry.value();
    else if (entry.key() == "offset")
      offset = parse_count("offset", entry.value());
    else if (entry.key() == "length")
      length = parse_count("length", entry.value());
  }
  require(!location.empty(), Code::bad_input, "external data: no location");
  require(dtype != DType::string, Code::bad_input, "external data: strings cannot be external");
  require(!folder_.empty(), Code::bad_input,
          "the data is in the file '{}', and a model in memory has no folder to look in",
          printable(location));
  const int64_t needed = checked_mul(element_count(dims), static_cast<int64_t>(size_of(dtype)));
  require(length < 0 || length == needed, Code::bad_input,
          "external data: shape {} of {} needs {} bytes, length is {}", to_string(dims),
          name_of(dtype), needed, length);
  if (needed == 0) return Tensor(dtype, std::move(dims));
  auto& file = files_[location];
  if (!file) file = MappedFile::open_beneath(folder_, location);
  const auto size = static_cast<int64_t>(file->bytes().size());
  require(offset <= size && needed <= size - offset, Code::bad_input,
          "external data: bytes {} to {} of '{}', which has {}", offset,
          checked_add(offset, needed), printable(location), size);
  const std::byte* data = file->bytes().data() + offset;
  constexpr uintptr_t kAlign = 64;
  if (reinterpret_cast<uintptr_t>(data) % kAlign == 0 && dtype != DType::boolean)
    return Tensor(dtype, std::move(dims), data, file);
  return from_bytes(dtype, std::move(dims), data);
}

Tensor TensorReader::read_sparse(onnx::SparseTensorProto& p) {
  const Tensor values = with_context("values", [&] { return read(*p.mutable_values()); });
  const Tensor indices = with_context("indices", [&] { return read(*p.mutable_indices()); });
  const Dims dims = dims_of(p.dims());
  const int64_t count = element_count(dims);
  const size_t width = size_of(values.dtype());
  require(values.dtype() != DType::string, Code::unsupported, "sparse strings are not supported");
  require(checked_mul(count, static_cast<int64_t>(width)) <= kLargestDense, Code::unsupported,
          "a sparse tensor of shape {} takes more than {} MiB when dense", to_string(dims),
          kLargestDense >> 20);
  const int64_t entries = values.size();
  require(values.rank() == 1 && indices.dtype() == DType::i64 &&
              (indices.dims() == Dims{entries} ||
               indices.dims() == Dims{entries, static_cast<int64_t>(dims.size())}),
          Code::bad_input, "sparse tensor: values {} and indices {} of {} do not fit shape {}",
          to_string(values.dims()), to_string(indices.dims()), name_of(indices.dtype()),
          to_string(dims));
  Tensor out(values.dtype(), dims);
  if (out.bytes() > 0) std::memset(out.mutable_raw(), 0, out.bytes());
  const Dims strides = row_major(dims);
  for (int64_t e = 0; e < entries; ++e) {
    int64_t at = 0;
    if (indices.rank() == 1) {
      at = indices.int_at(e);
      require(at >= 0 && at < count, Code::bad_input, "sparse tensor: index {} in {} elements", at,
              count);
    } else {
      for (size_t d = 0; d < dims.size(); ++d) {
        const int64_t i =
            indices.int_at(e * static_cast<int64_t>(dims.size()) + static_cast<int64_t>(d));
        require(i >= 0 && i < dims[d], Code::bad_input, "sparse tensor: index {} in extent {}", i,
                dims[d]);
        at += i * strides[d];
      }
    }
    std::memcpy(static_cast<char*>(out.mutable_raw()) + static_cast<size_t>(at) * width,
                static_cast<const char*>(values.raw()) + static_cast<size_t>(e) * width, width);
  }
  return out;
}

}  // namespace vitrail
