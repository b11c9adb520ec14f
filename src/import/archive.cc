// SPDX-License-Identifier: Apache-2.0
#include "import/archive.h"

#include <zlib.h>

#include <algorithm>
#include <set>

namespace vitrail {
namespace {
// PKWARE's APPNOTE 6.3.10, section 4.3.
constexpr uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50;
constexpr uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr size_t kEndSize = 22, kEnd64LocatorSize = 20, kMaxComment = UINT16_MAX;
constexpr uint16_t kStored = 0, kDeflated = 8, kZip64Extra = 1, kPaddingExtra = 0x4656;
constexpr uint16_t kFlagEncrypted = 1, kFlagPatched = 32, kFlagStrongEncryption = 64,
                   kFlagUtf8 = 0x800;
constexpr uint16_t kFlagMaskedHeader = 0x2000, kVersion = 45;
// DEFLATE reaches 1:1032 on zeros; arrays that people store stay far below 100.
constexpr uint64_t kMaxExpansion = 100, kFreeExpansion = uint64_t{64} << 20;

struct Directory {
  uint64_t entries = 0, size = 0, offset = 0;
};

uint32_t crc_of(Bytes bytes) {
  uLong crc = ::crc32(0, nullptr, 0);
  constexpr size_t kPiece = size_t{1} << 30;  // zlib counts in 32 bits
  while (!bytes.empty()) {
    const Bytes piece = bytes.first(std::min(bytes.size(), kPiece));
    crc =
        ::crc32(crc, reinterpret_cast<const Bytef*>(piece.data()), static_cast<uInt>(piece.size()));
    bytes = bytes.subspan(piece.size());
  }
  return static_cast<uint32_t>(crc);
}

// The end record is the last thing in the file but for a comment of known length.
size_t find_end(Bytes file, const std::string& name) {
  for (size_t comment = 0; comment <= kMaxComment && comment + kEndSize <= file.size(); ++comment) {
    const size_t at = file.size() - kEndSize - comment;
    ByteReader reader(file.subspan(at), name);
    if (reader.number<uint32_t>("signature") != kEndSignature) continue;
    reader.take(16, "end record");
    if (reader.number<uint16_t>("comment length") == comment) return at;
  }
  fail(Code::bad_input, "{}: not a complete zip archive: its directory is missing (cut short?)",
       name);
}

Directory locate_directory(Bytes file, const std::string& name) {
  const size_t end = find_end(file, name);
  ByteReader reader(file.subspan(end + 4), name);
  const auto disk = reader.number<uint16_t>("disk"), first = reader.number<uint16_t>("disk");
  const auto here = reader.number<uint16_t>("entries"), all = reader.number<uint16_t>("entries");
  Directory out;
  out.entries = all;
  out.size = reader.number<uint32_t>("directory size");
  out.offset = reader.number<uint32_t>("directory offset");
  require(disk == first && here == all, Code::unsupported,
          "{}: an archive split over several files", name);
  size_t directory_end = end;
  if (end >= kEnd64LocatorSize) {
    ByteReader locator(file.subspan(end - kEnd64LocatorSize), name);
    if (locator.number<uint32_t>("signature") == kEnd64LocatorSignature) {
      locator.take(4, "disk");
      const auto at = locator.number<uint64_t>("zip64 end record");
      require(at <= file.size(), Code::bad_input, "{}: zip64 end record at {} of {} bytes", name,
              at, file.size());
      ByteReader wide(file.subspan(static_cast<size_t>(at)), name);
      require(wide.number<uint32_t>("signature") == kEnd64Signature, Code::bad_input,
              "{}: no zip64 end record at {}", name, at);
      wide.take(20, "zip64 end record");
      const auto here64 = wide.number<uint64_t>("entries");
      out.entries = wide.number<uint64_t>("entries");
      out.size = wide.number<uint64_t>("directory size");
      out.offset = wide.number<uint64_t>("directory offset");
      require(here64 == out.entries, Code::unsupported, "{}: an archive split over several files",
              name);
      directory_end = static_cast<size_t>(at);
    }
  }
  require(out.offset <= directory_end && out.size == directory_end - out.offset, Code::bad_input,
          "{}: damaged zip: a directory of {} bytes at {}, expected to end at {}", name, out.size,
          out.offset, directory_end);
  return out;
}

// Sizes and offset of ~0 stand in a zip64 extra field, in this order.
void read_zip64(Bytes extra, uint64_t* size, uint64_t* packed, uint64_t* offset,
                const std::string& name) {
  ByteReader reader(extra, name);
  while (reader.left() >= 4) {
    const auto id = reader.number<uint16_t>("extra field");
    const Bytes body = reader.take(reader.number<uint16_t>("extra field"), "extra field");
    if (id != kZip64Extra) continue;
    ByteReader wide(body, name);
    for (uint64_t* value : {size, packed, offset})
      if (*value == UINT32_MAX) *value = wide.number<uint64_t>("zip64 field");
    return;
  }
}

bool leaves_folder(const std::string& name) {
  if (name.empty() || name[0] == '/' || name.find('\0') != std::string::npos) return true;
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t slash = std::min(name.find_first_of("/\\", begin), name.size());
    if (name.compare(begin, slash - begin, "..") == 0) return true;
    begin = slash + 1;
  }
  return false;
}
}  // namespace

Archive::Archive(SharedBytes file, std::string name)
    : file_(std::move(file)), name_(std::move(name)) {
  read_directory();
  check_names_and_places();
}

void Archive::read_directory() {
  const Directory directory = locate_directory(file_.bytes, name_);
  ByteReader reader(file_.bytes.subspan(static_cast<size_t>(directory.offset),
                                        static_cast<size_t>(directory.size)),
                    name_);
  for (uint64_t i = 0; i < directory.entries; ++i) {
    require(reader.number<uint32_t>("directory entry") == kCentralSignature, Code::bad_input,
            "{}: damaged zip: directory entry {} of {} has no signature", name_, i,
            directory.entries);
    reader.take(4, "versions");
    const auto flags = reader.number<uint16_t>("flags"), method = reader.number<uint16_t>("method");
    reader.take(4, "time");
    Member member;
    member.crc = reader.number<uint32_t>("crc");
    uint64_t packed = reader.number<uint32_t>("size");
    member.size = reader.number<uint32_t>("size");
    const auto name_length = reader.number<uint16_t>("name length");
    const auto extra_length = reader.number<uint16_t>("extra length");
    const auto comment_length = reader.number<uint16_t>("comment length");
    reader.take(8, "attributes");
    uint64_t offset = reader.number<uint32_t>("offset");
    member.name = as_text(reader.take(name_length, "member name"));
    const Bytes extra = reader.take(extra_length, "extra field");
    reader.take(comment_length, "comment");
    const std::string where = describe(member);
    read_zip64(extra, &member.size, &packed, &offset, where);

    require((flags & (kFlagEncrypted | kFlagStrongEncryption | kFlagMaskedHeader)) == 0,
            Code::unsupported, "{} is encrypted; write the archive without a password", where);
    require((flags & kFlagPatched) == 0 && (method == kStored || method == kDeflated),
            Code::unsupported, "{}: compression method {}; stored and deflated are supported",
            where, method);
    member.deflated = method == kDeflated;
    require(member.deflated || member.size == packed, Code::bad_input,
            "{}: stored with {} bytes, declared with {}", where, packed, member.size);

    // Members end where the directory begins at the latest.
    require(offset <= directory.offset, Code::bad_input, "{}: offset {} beyond the directory at {}",
            where, offset, directory.offset);
    ByteReader local(file_.bytes.subspan(static_cast<size_t>(offset),
                                         static_cast<size_t>(directory.offset - offset)),
                     where);
    require(local.number<uint32_t>("local header") == kLocalSignature, Code::bad_input,
            "{}: damaged zip: no local header at {}", where, offset);
    local.take(22, "local header");
    const auto local_name_length = local.number<uint16_t>("name length");
    const auto local_extra_length = local.number<uint16_t>("extra length");
    require(as_text(local.take(local_name_length, "member name")) == member.name, Code::bad_input,
            "{}: the directory and the local header give different names", where);
    local.take(local_extra_length, "extra field");
    member.stored = local.take(packed, "the data");
    members_.push_back(std::move(member));
  }
  require(reader.left() == 0, Code::bad_input,
          "{}: damaged zip: {} bytes too many in the directory", name_, reader.left());
}

void Archive::check_names_and_places() {
  std::set<std::string_view> names;
  std::vector<Bytes> places;
  uint64_t expanded = 0;
  // A sum that wraps would pass the limit; each term alone is held below it first.
  const uint64_t limit = kFreeExpansion + kMaxExpansion * file_.bytes.size();
  for (const Member& member : members_) {
    require(!leaves_folder(member.name), Code::bad_input,
            "{}: the name leaves the archive's folder", describe(member));
    require(names.insert(member.name).second, Code::bad_input, "{} appears twice",
            describe(member));
    if (!member.stored.empty()) places.push_back(member.stored);
    if (!member.deflated) continue;
    require(member.size <= limit && (expanded += member.size) <= limit, Code::bad_input,
            "{}: {} bytes expand to {}, in all beyond the {} that an archive of {} bytes may: "
            "store such data uncompressed",
            describe(member), member.stored.size(), member.size, limit, file_.bytes.size());
  }
  std::sort(places.begin(), places.end(),
            [](const Bytes& a, const Bytes& b) { return a.data() < b.data(); });
  for (size_t i = 1; i < places.size(); ++i)
    require(places[i - 1].data() + places[i - 1].size() <= places[i].data(), Code::bad_input,
            "{}: damaged zip: two members share bytes", name_);
}

const Archive::Member* Archive::find(std::string_view name) const {
  for (const Member& member : members_)
    if (member.name == name) return &member;
  return nullptr;
}

std::string Archive::describe(const Member& member) const {
  return fmt::format("{} member '{}'", name_, printable(member.name));
}

SharedBytes Archive::read(const Member& member) const {
  SharedBytes out{member.stored, file_.owner};
  if (member.deflated) {
    const Tensor memory(DType::u8, {static_cast<int64_t>(member.size)});
    out = {{static_cast<const std::byte*>(memory.raw()), static_cast<size_t>(member.size)},
           std::make_shared<Tensor>(memory)};
    z_stream stream{};
    // Negative window bits: raw DEFLATE without zlib's own header.
    require(::inflateInit2(&stream, -MAX_WBITS) == Z_OK, Code::resource,
            "{}: no memory to expand it", describe(member));
    const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, ::inflateEnd);
    Bytes from = member.stored, to = out.bytes;
    int status = Z_OK;
    constexpr size_t kPiece = size_t{1} << 30;
    // One byte more than declared is asked for at the end, so that longer data is noticed.
    Bytef excess = 0;
    while (status == Z_OK) {
      const Bytes in = from.first(std::min(from.size(), kPiece));
      const Bytes space = to.first(std::min(to.size(), kPiece));
      stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in.data()));
      stream.avail_in = static_cast<uInt>(in.size());
      stream.next_out = space.empty()
                            ? &excess
                            : const_cast<Bytef*>(reinterpret_cast<const Bytef*>(space.data()));
      stream.avail_out = space.empty() ? 1 : static_cast<uInt>(space.size());
      const uInt offered = stream.avail_out;
      status = ::inflate(&stream, Z_NO_FLUSH);
      from = from.subspan(in.size() - stream.avail_in);
      const size_t made = offered - stream.avail_out;
      require(!space.empty() || made == 0, Code::bad_input,
              "{}: expands beyond the declared {} bytes", describe(member), member.size);
      if (!space.empty()) to = to.subspan(made);
    }
    require(status == Z_STREAM_END && to.empty() && from.empty(), Code::bad_input,
            "{}: damaged compressed data", describe(member));
  }
  const uint32_t crc = crc_of(out.bytes);
  require(crc == member.crc, Code::bad_input,
          "{}: checksum {:08x}, expected {:08x}: the file is damaged", describe(member), crc,
          member.crc);
  return out;
}

namespace {
template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
// What fits goes into the 32-bit field, the rest into a zip64 extra field.
uint32_t narrow(uint64_t value, std::string& zip64) {
  if (value < UINT32_MAX) return static_cast<uint32_t>(value);
  append(zip64, value);
  return UINT32_MAX;
}
std::string extra_field(uint16_t id, const std::string& body) {
  std::string out;
  append(out, id);
  append(out, static_cast<uint16_t>(body.size()));
  return out + body;
}
}  // namespace

void ArchiveWriter::add(const std::string& name, std::span<const Bytes> chunks) {
  constexpr uint32_t kTime = 1 << 21 | 1 << 16;  // 1980-01-01: bytes do not depend on the day
  require(name.size() < UINT16_MAX, Code::bad_input, "a name of {} bytes for an archive member",
          name.size());
  uint64_t size = 0;
  uLong crc = 0;
  for (const Bytes& chunk : chunks) {
    crc = ::crc32_combine(crc, crc_of(chunk), static_cast<z_off_t>(chunk.size()));
    size += chunk.size();
  }
  const uint64_t offset = file_.size();
  std::string wide_sizes;  // the local header has both sizes or neither
  const uint32_t packed32 = narrow(size, wide_sizes), size32 = narrow(size, wide_sizes);
  const auto common = [&](std::string& out) {
    append(out, kVersion);
    append(out, kFlagUtf8);
    append(out, kStored);
    append(out, kTime);
    append(out, static_cast<uint32_t>(crc));
    append(out, packed32);
    append(out, size32);
    append(out, static_cast<uint16_t>(name.size()));
  };
  std::string extra = wide_sizes.empty() ? "" : extra_field(kZip64Extra, wide_sizes);
  constexpr size_t kLocalSize = 30, kAlign = 64, kExtraHead = 4;
  const uint64_t end = offset + kLocalSize + name.size() + extra.size() + kExtraHead;
  extra += extra_field(kPaddingExtra, std::string((kAlign - end % kAlign) % kAlign, '\0'));
  std::string local;
  append(local, kLocalSignature);
  common(local);
  append(local, static_cast<uint16_t>(extra.size()));
  file_.write(local + name + extra);
  for (const Bytes& chunk : chunks) file_.write(chunk);

  std::string wide = wide_sizes;
  const uint32_t offset32 = narrow(offset, wide);
  extra = wide.empty() ? "" : extra_field(kZip64Extra, wide);
  append(directory_, kCentralSignature);
  append(directory_, kVersion);
  common(directory_);
  append(directory_, static_cast<uint16_t>(extra.size()));
  directory_.append(2 + 2 + 2, '\0');  // comment, disk, internal attributes
  append(directory_, uint32_t{0});     // external attributes
  append(directory_, offset32);
  directory_ += name + extra;
  ++count_;
}

void ArchiveWriter::finish() {
  const uint64_t offset = file_.size(), size = directory_.size(), end = offset + size;
  file_.write(directory_);
  std::string out;
  if (count_ >= UINT16_MAX || end >= UINT32_MAX) {
    append(out, kEnd64Signature);
    append(out, uint64_t{44});  // bytes that follow this field
    append(out, kVersion);
    append(out, kVersion);
    append(out, uint64_t{0});  // disks
    append(out, count_);
    append(out, count_);
    append(out, size);
    append(out, offset);
    append(out, kEnd64LocatorSignature);
    append(out, uint32_t{0});
    append(out, end);
    append(out, uint32_t{1});
  }
  const auto count16 = static_cast<uint16_t>(std::min<uint64_t>(count_, UINT16_MAX));
  append(out, kEndSignature);
  append(out, uint32_t{0});  // disks
  append(out, count16);
  append(out, count16);
  append(out, static_cast<uint32_t>(std::min<uint64_t>(size, UINT32_MAX)));
  append(out, static_cast<uint32_t>(std::min<uint64_t>(offset, UINT32_MAX)));
  append(out, uint16_t{0});
  file_.write(out);
}

}  // namespace vitrail
