// SPDX-License-Identifier: Apache-2.0
#include "import/npy.h"

#include <algorithm>
#include <charconv>

namespace vitrail {
namespace {
constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxRank = 64;  // numpy's own limit

struct Header {
  std::string descr;
  bool fortran = false;
  Dims shape;
};

// Reads the one Python literal a header may hold:
// {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Header parse() {
    Header out;
    bool descr = false, fortran = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted_text();
      expect(':');
      if (key == "descr" && !descr) {
        descr = true;
        skip_space();
        require(peek() != '[' && peek() != '(', Code::unsupported,
                "{}: records (structured arrays) are not supported; save their fields one by one",
                name_);
        out.descr = quoted_text();
      } else if (key == "fortran_order" && !fortran) {
        fortran = true;
        out.fortran = boolean();
      } else if (key == "shape" && !shape) {
        shape = true;
        out.shape = tuple();
      } else {
        damaged("unexpected or repeated key '" + printable(key) + "'");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (position_ != text_.size()) damaged("text after the dictionary");
    if (!descr || !fortran || !shape) damaged("'descr', 'fortran_order' or 'shape' is missing");
    return out;
  }

 private:
  [[noreturn]] void damaged(const std::string& why) const {
    fail(Code::bad_input, "{}: damaged .npy header at byte {}: {}", name_, position_, why);
  }
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  void skip_space() {
    while (peek() == ' ' || peek() == '\n' || peek() == '\t' || peek() == '\r') ++position_;
  }
  bool accept(char c) {
    skip_space();
    if (peek() != c) return false;
    ++position_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) damaged(fmt::format("expected '{}'", c));
  }
  std::string quoted_text() {
    skip_space();
    const char quote = peek();
    if (quote != '\'' && quote != '"') damaged("expected a quoted text");
    const size_t end = text_.find(quote, position_ + 1);
    if (end == std::string_view::npos) damaged("a quote is not closed");
    std::string out(text_.substr(position_ + 1, end - position_ - 1));
    position_ = end + 1;
    return out;
  }
  bool boolean() {
    skip_space();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(position_).starts_with(word)) {
        position_ += word.size();
        return value;
      }
    }
    damaged("expected True or False");
  }
  Dims tuple() {
    Dims out;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t value = 0;
      const auto [end, error] =
          std::from_chars(text_.data() + position_, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0) damaged("expected an extent, 0 to 2^63-1");
      if (out.size() == kMaxRank) damaged("more than 64 extents");
      position_ = static_cast<size_t>(end - text_.data());
      if (peek() == 'L') ++position_;  // Python 2 wrote long integers so
      out.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return out;
  }

  std::string_view text_;
  const std::string& name_;
  size_t position_ = 0;
};

struct ItemType {
  DType dtype;
  bool big_endian = false;
};

ItemType item_type(const std::string& descr, const std::string& name) {
  static constexpr std::pair<std::string_view, DType> kTypes[] = {
      {"f2", DType::f16},   {"f4", DType::f32}, {"f8", DType::f64}, {"i1", DType::i8},
      {"i2", DType::i16},   {"i4", DType::i32}, {"i8", DType::i64}, {"u1", DType::u8},
      {"u2", DType::u16},   {"u4", DType::u32}, {"u8", DType::u64}, {"b1", DType::boolean},
      {"?", DType::boolean}};
  std::string_view text = descr;
  bool big = false;
  if (!text.empty() && std::string_view("<>=|").find(text[0]) != std::string_view::npos) {
    big = text[0] == '>';
    text.remove_prefix(1);
  }
  for (const auto& [code, dtype] : kTypes)
    if (text == code) return {dtype, big && size_of(dtype) > 1};
  require(!text.starts_with('O'), Code::unsupported,
          "{}: object arrays (pickled Python objects) are not read; save numeric arrays", name);
  fail(Code::unsupported,
       "{}: element type '{}' is not supported (float16/32/64, int and uint 8 to 64, bool are)",
       name, printable(descr));
}

void swap_bytes(std::byte* data, size_t count, size_t item) {
  for (size_t i = 0; i < count; ++i) std::reverse(data + i * item, data + (i + 1) * item);
}

}  // namespace

Tensor parse_npy(const SharedBytes& file, const std::string& name) {
  ByteReader reader(file.bytes, name);
  require(reader.left() >= kMagic.size() &&
              as_text(reader.take(kMagic.size(), "the magic number")) == kMagic,
          Code::bad_input, "{}: not an .npy array: the magic number is missing", name);
  const auto major = reader.number<uint8_t>("the version");
  const auto minor = reader.number<uint8_t>("the version");
  require(major >= 1 && major <= 3 && minor == 0, Code::unsupported,
          "{}: .npy version {}.{}; 1.0, 2.0 and 3.0 are supported", name, major, minor);
  const uint64_t length = major == 1 ? reader.number<uint16_t>("the header length")
                                     : reader.number<uint32_t>("the header length");
  const Header header = HeaderParser(as_text(reader.take(length, "the header")), name).parse();
  const ItemType type = item_type(header.descr, name);
  const SharedBytes data{reader.take(reader.left(), "the data"), file.owner};
  Tensor out = tensor_over(type.dtype, header.shape, data, name);
  if (type.big_endian) {
    Tensor native(type.dtype, header.shape);
    std::copy(data.bytes.begin(), data.bytes.end(), static_cast<std::byte*>(native.mutable_raw()));
    swap_bytes(static_cast<std::byte*>(native.mutable_raw()), static_cast<size_t>(native.size()),
               size_of(type.dtype));
    out = native;
  }
  if (!header.fortran || header.shape.size() < 2 || out.size() == 0) return out;
  Dims strides(header.shape.size(), 1);
  for (size_t axis = 1; axis < strides.size(); ++axis)
    strides[axis] = strides[axis - 1] * header.shape[axis - 1];
  return gather(type.dtype, header.shape, strides, out.raw());
}

Tensor load_npy(const std::string& path) {
  const auto file = MappedFile::open(path);
  return parse_npy({file->bytes(), file}, "'" + printable(path) + "'");
}

std::string npy_header(const Tensor& tensor) {
  std::string_view code;
  switch (tensor.dtype()) {
    case DType::f32:
      code = "<f4";
      break;
    case DType::f64:
      code = "<f8";
      break;
    case DType::f16:
      code = "<f2";
      break;
    case DType::i8:
      code = "|i1";
      break;
    case DType::i16:
      code = "<i2";
      break;
    case DType::i32:
      code = "<i4";
      break;
    case DType::i64:
      code = "<i8";
      break;
    case DType::u8:
      code = "|u1";
      break;
    case DType::u16:
      code = "<u2";
      break;
    case DType::u32:
      code = "<u4";
      break;
    case DType::u64:
      code = "<u8";
      break;
    case DType::boolean:
      code = "|b1";
      break;
    default:
      fail(Code::unsupported, "numpy has no element type {}; cast the tensor first",
           name_of(tensor.dtype()));
  }
  std::string shape;
  for (const int64_t extent : tensor.dims()) shape += fmt::format("{}, ", extent);
  if (tensor.rank() > 1)
    shape.resize(shape.size() - 2);
  else if (tensor.rank() == 1)
    shape.resize(shape.size() - 1);
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", code, shape);
  // Magic, version and length take 10 bytes, the header ends with a newline.
  constexpr size_t kFixed = 10, kAlign = 64;
  header.resize((kFixed + header.size() + kAlign) / kAlign * kAlign - kFixed - 1, ' ');
  header += '\n';
  require(header.size() <= UINT16_MAX, Code::internal, "an .npy header of {} bytes", header.size());
  const auto length = static_cast<uint16_t>(header.size());
  std::string out(kMagic);
  out += {'\1', '\0', static_cast<char>(length & 0xFF), static_cast<char>(length >> 8)};
  return out + header;
}

void save_npy(const std::string& path, const Tensor& tensor) {
  const std::string header = npy_header(tensor);
  const Bytes chunks[] = {as_bytes(header), bytes_of(tensor)};
  write_atomically(path, chunks);
}

}  // namespace vitrail
