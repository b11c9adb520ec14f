// SPDX-License-Identifier: Apache-2.0
#include "import/pickle.h"

#include <unordered_map>

namespace vitrail {
namespace {
using Kind = PickleValue::Kind;
// State dicts need some 25 values a tensor; the limit holds a hostile file to 64 MiB of them.
constexpr size_t kMaxValues = size_t{1} << 20;
constexpr size_t kMaxBytes = size_t{64} << 20;
}  // namespace

// The stack machine of Python's pickletools, without the opcodes that make objects.
class PickleMachine {
 public:
  PickleMachine(PickleDocument& document, Bytes data, std::string name,
                PickleDocument::Allowed allowed)
      : document_(document), reader_(data, std::move(name)), allowed_(allowed) {}

  void run() {
    while (step())
      require(reader_.position() <= kMaxBytes, Code::unsupported,
              "{}: a pickle of more than {} bytes", reader_.name(), kMaxBytes);
    require(stack_.size() == 1 && marks_.empty(), Code::bad_input,
            "{}: damaged pickle: {} values left at its end, expected 1", reader_.name(),
            stack_.size());
    document_.root_ = stack_[0];
    document_.consumed_ = reader_.position();
  }

 private:
  bool step() {
    const size_t position = reader_.position();
    const auto opcode = reader_.number<uint8_t>("an opcode");
    switch (opcode) {
      case 0x80: {  // PROTO
        const auto version = reader_.number<uint8_t>("the protocol");
        require(version >= 2 && version <= 5, Code::unsupported,
                "{}: pickle protocol {}; 2 to 5 are read", reader_.name(), version);
        break;
      }
      case 0x95:
        reader_.take(8, "a frame length");
        break;  // FRAME: only a hint for buffering
      case '.':
        return false;

      case 'N':
        push(Kind::none);
        break;
      case 0x88:
        push(Kind::boolean).integer = 1;
        break;
      case 0x89:
        push(Kind::boolean).integer = 0;
        break;
      case 'K':
        push_integer(reader_.number<uint8_t>("an integer"));
        break;
      case 'M':
        push_integer(reader_.number<uint16_t>("an integer"));
        break;
      case 'J':
        push_integer(reader_.number<int32_t>("an integer"));
        break;
      case 0x8a:
        push_long();
        break;
      case 'G':
        push(Kind::real).integer =
            static_cast<int64_t>(__builtin_bswap64(reader_.number<uint64_t>("a number")));
        break;
      case 'U':
      case 0x8c:
      case 'C':
        push_text(reader_.number<uint8_t>("a length"));
        break;
      case 'T':
      case 'X':
      case 'B':
        push_text(reader_.number<uint32_t>("a length"));
        break;
      case 0x8d:
      case 0x8e:
      case 0x96:
        push_text(reader_.number<uint64_t>("a length"));
        break;

      case '(':
        marks_.push_back(stack_.size());
        break;
      case '0':
        pop();
        break;
      case ')':
        push(Kind::tuple);
        break;
      case ']':
        push(Kind::list);
        break;
      case '}':
        push(Kind::dict);
        break;
      case 0x85:
        push_tuple(1);
        break;
      case 0x86:
        push_tuple(2);
        break;
      case 0x87:
        push_tuple(3);
        break;
      case 't': {
        std::vector<uint32_t> items = pop_to_mark();
        push(Kind::tuple).items = std::move(items);
        break;
      }
      case 'a':
        extend(Kind::list, {pop()});
        break;
      case 'e':
        extend(Kind::list, pop_to_mark());
        break;
      case 's': {
        const uint32_t value = pop(), key = pop();
        extend(Kind::dict, {key, value});
        break;
      }
      case 'u':
        extend(Kind::dict, pop_to_mark());
        break;

      case 'q':
        remember(reader_.number<uint8_t>("a memo index"));
        break;
      case 'r':
        remember(reader_.number<uint32_t>("a memo index"));
        break;
      case 0x94:
        remember(static_cast<uint32_t>(memo_.size()));
        break;
      case 'h':
        recall(reader_.number<uint8_t>("a memo index"));
        break;
      case 'j':
        recall(reader_.number<uint32_t>("a memo index"));
        break;

      case 'c': {
        const std::string_view module = line();
        push_global(module, line());
        break;
      }
      case 0x93: {
        const uint32_t name = pop(), module = pop();
        require(value(name).is(Kind::text) && value(module).is(Kind::text), Code::bad_input,
                "{}: damaged pickle at byte {}: a global without a name", reader_.name(), position);
        push_global(value(module).text, value(name).text);
        break;
      }
      case 'R':
      case 0x81:
        call(position);
        break;
      case 'b':
        pop();
        top();
        break;  // the state of an object that is never made
      case 'Q': {
        const uint32_t id = pop();
        push(Kind::persistent).items = {id};
        break;
      }
      default:
        fail(Code::unsupported,
             "{}: pickle opcode 0x{:02x} at byte {} is none that a state dict needs: refused",
             reader_.name(), opcode, position);
    }
    return true;
  }

  PickleValue& value(uint32_t index) { return document_.values_[index]; }
  PickleValue& push(Kind kind) {
    require(document_.values_.size() < kMaxValues, Code::unsupported,
            "{}: a pickle with more than {} values", reader_.name(), kMaxValues);
    stack_.push_back(static_cast<uint32_t>(document_.values_.size()));
    PickleValue& out = document_.values_.emplace_back();
    out.kind = kind;
    return out;
  }
  void push_integer(int64_t number) { push(Kind::integer).integer = number; }
  void push_long() {
    const auto length = reader_.number<uint8_t>("a length");
    require(length <= 8, Code::unsupported, "{}: an integer of {} bytes", reader_.name(), length);
    const Bytes bytes = reader_.take(length, "an integer");
    uint64_t number = 0;
    for (size_t i = 0; i < length; ++i) number |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    // Two's complement of `length` bytes.
    if (length > 0 && length < 8 && (number >> (8 * length - 1)) != 0)
      number |= ~uint64_t{0} << (8 * length);
    push_integer(static_cast<int64_t>(number));
  }
  void push_text(uint64_t length) {
    const std::string_view text = as_text(reader_.take(length, "a text"));
    push(Kind::text).text = text;
  }
  void push_tuple(size_t count) {
    std::vector<uint32_t> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push(Kind::tuple).items = std::move(items);
  }
  void push_global(std::string_view module, std::string_view name) {
    std::string both = std::string(module) + " " + std::string(name);
    const bool known = with_context(reader_.name(), [&] { return allowed_(both); });
    require(
        known, Code::bad_input,
        "{}: refused: it names the Python object '{}.{}', which no state dict needs; loading it "
        "in Python could run code",
        reader_.name(), printable(std::string(module)), printable(std::string(name)));
    push(Kind::global).text = document_.texts_.emplace_back(std::move(both));
  }
  // Calls are recorded, except that dictionaries become plain ones, which are filled afterwards.
  void call(size_t position) {
    const uint32_t arguments = pop(), callee = pop();
    require(value(callee).is(Kind::global) && value(arguments).is(Kind::tuple), Code::bad_input,
            "{}: damaged pickle at byte {}: a call of something that is no global", reader_.name(),
            position);
    const std::string_view name = value(callee).text;
    if (name == "collections OrderedDict" || name == "collections defaultdict")
      push(Kind::dict);
    else
      push(Kind::call).items = {callee, arguments};
  }
  void extend(Kind kind, std::vector<uint32_t> items) {
    PickleValue& target = value(top());
    if (target.is(Kind::call)) return;  // contents of an object that is never made
    require(target.is(kind) && (kind == Kind::list || items.size() % 2 == 0), Code::bad_input,
            "{}: damaged pickle before byte {}: items for something that takes none",
            reader_.name(), reader_.position());
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  uint32_t top() {
    require(stack_.size() > (marks_.empty() ? 0 : marks_.back()), Code::bad_input,
            "{}: damaged pickle before byte {}: nothing on its stack", reader_.name(),
            reader_.position());
    return stack_.back();
  }
  uint32_t pop() {
    const uint32_t out = top();
    stack_.pop_back();
    return out;
  }
  std::vector<uint32_t> pop_to_mark() {
    require(!marks_.empty(), Code::bad_input, "{}: damaged pickle before byte {}: no mark",
            reader_.name(), reader_.position());
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<uint32_t> out(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return out;
  }
  void remember(uint32_t index) {
    require(memo_.size() < kMaxValues, Code::unsupported,
            "{}: a pickle with more than {} memo entries", reader_.name(), kMaxValues);
    memo_[index] = top();
  }
  void recall(uint32_t index) {
    const auto found = memo_.find(index);
    require(found != memo_.end(), Code::bad_input, "{}: damaged pickle: no memo entry {}",
            reader_.name(), index);
    stack_.push_back(found->second);
  }
  std::string_view line() {
    const size_t begin = reader_.position();
    size_t length = 0;
    while (reader_.take(1, "a name")[0] != std::byte{'\n'}) ++length;
    return as_text(reader_.seen(begin, length));
  }

  PickleDocument& document_;
  ByteReader reader_;
  PickleDocument::Allowed allowed_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, uint32_t> memo_;
};

PickleDocument::PickleDocument(Bytes data, std::string name, Allowed allowed) {
  PickleMachine(*this, data, std::move(name), allowed).run();
}

}  // namespace vitrail
